"""The table of results: a part of the edits replaces its own rows only."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.run import FOUND, SURVIVED, Edit, write


def edit(name: str) -> Edit:
    return Edit(name, "3", "paaplus/x.py", "old", "new", ["tests/x.py"])


def test_results_of_a_part_replace_the_rows_of_its_edits(tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    write(file, [(edit(name), SURVIVED, "3 tests pass", 1.0) for name in ("a", "a longer one", "b")], is_part=False)
    before = file.read_text().splitlines()

    write(file, [(edit("a"), FOUND, "tests/x.py::test_a", 2.0), (edit("new"), FOUND, "test|n", 3.0)], is_part=True)

    assert file.read_text().splitlines() == [
        *before[:6],
        "| a | 3 | paaplus/x.py | found | test_a | 2 |",
        *before[7:],
        "| new | 3 | paaplus/x.py | found | test/n | 3 |",
    ]


def test_results_of_all_edits_are_a_new_table(tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    for names in ("ab", "c"):
        write(file, [(edit(name), FOUND, "test", 1.0) for name in names], is_part=False)
    assert [line for line in file.read_text().splitlines() if "paaplus/" in line] == [
        "| c | 3 | paaplus/x.py | found | test | 1 |"
    ]
