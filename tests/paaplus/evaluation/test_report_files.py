"""The files of a study hold whatever people, columns and files are called."""

from __future__ import annotations

from pathlib import Path

from paaplus.evaluation.report_files import markdown_table, write_files


def test_cells_stay_cells_of_one_line() -> None:
    assert markdown_table(("who", "srcc"), [("a|b\nc", "1.0")])[2] == "| a\\|b c | 1.0 |"


def test_names_that_are_no_utf8_do_not_stop_a_report_at_its_end(tmp_path: Path) -> None:
    document = {"config": {"data": "caf\udce9"}}
    json_file, markdown_file = write_files(tmp_path, "study", document, "# Study of caf\udce9\n")
    assert "caf\\udce9" in json_file.read_text("utf-8")
    assert "caf\\udce9" in markdown_file.read_text("utf-8")
