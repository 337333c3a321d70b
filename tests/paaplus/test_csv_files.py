"""The strict reader of CSV files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paaplus.csv_files import STANDARD, CsvFormat, parse_csv, read_csv, read_names
from paaplus.errors import InvalidInput

SEMICOLONS = CsvFormat(";", ",")


def cells(text: str | bytes, layout: CsvFormat = STANDARD) -> list[tuple[int, list[str]]]:
    data = text.encode() if isinstance(text, str) else text
    table = parse_csv(data, "t.csv", ("a", "b"), ("scene",), layout)
    return [(row.line, list(row.cells.values())) for row in table.rows]


def test_rows_have_the_lines_on_which_they_begin() -> None:
    text = '\ufeffa, b ,c\r\n1,2,3\r\n\r\n"x\ny", 5 ,6\n7,8,9'
    assert cells(text) == [(2, ["1", "2", "3"]), (4, ["x\ny", "5", "6"]), (6, ["7", "8", "9"])]


@pytest.mark.parametrize("odd", ["\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_no_character_but_line_ends_ends_a_row(odd: str) -> None:
    assert cells(f"a,b\n1{odd}2,3\n4,5\n") == [(2, [f"1{odd}2", "3"]), (3, ["4", "5"])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv, line 1: no column 'a', 'b'"),
        ("a\n", r"line 1: no column 'b'; found \['a'\]"),
        ("a,b,a\n", r"line 1: column 'a' occurs twice, in places 1 and 3"),
        ("a,b, a \n", r"column 'a' occurs twice"),
        ("a,b,,\n", r"column '' occurs twice"),
        ("A,b\n", r"line 1: column 'A' must be written 'a'"),
        ("a,b,Scene\n", r"line 1: column 'Scene' must be written 'scene'"),
        ("a;b\n", r"no column 'a', 'b'; found \['a;b'\]; is the delimiter ';' \(semicolon\)"),
        ("a\tb\n", r"is the delimiter '\\t' \(tab\)"),
        ("sep=;\na;b\n", r"'sep=;' is a note to a spreadsheet"),
        ("a,b\n1,2\n3,5,1\n", r"line 3: 3 values under 2 columns: a decimal comma"),
        ("a,b\n1\n", r"line 2: 1 values under 2 columns"),
        ("a,b\n1,2,\n1\n", r"2 bad row\(s\): line 2: 3 values .*; line 3: 1 values"),
        ('a,b\n"1,2\n', r"line 2: a cell begins with a quotation mark and never ends"),
        ('a,b\n1,2\n"3,4\n5,6\n7,8\n', r"line 3: a cell begins with a quotation mark and never ends"),
        ('a,b\n1,2\n"3,' + "x\n" * 70_000, r"line 3: a cell has more than 131072 characters; does a quotation mark"),
        ('a,b\n"1"x,2\n', r"line 2: "),
        (b"a,b\n1,\xff\n", r"t\.csv, line 2: not UTF-8: byte 0xff"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a,b\n1,2\n3,\0\n", "line 3: a NUL character"),
        ("a,b\n" + "x" * 200_000 + ",1\n", "line 2: a cell has more than 131072 characters"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(text: str | bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        cells(text)


def test_other_delimiters_and_decimal_marks_may_be_given() -> None:
    table = parse_csv(b"a;b\n1,5;2\n", "t.csv", ("a", "b"), layout=SEMICOLONS)
    assert (table.rows[0].number("a"), table.rows[0].number("b")) == (1.5, 2.0)
    assert cells("a\tb\n1\t2\n", CsvFormat("\t")) == [(2, ["1", "2"])]
    for wrong in ({"delimiter": "x"}, {"delimiter": ""}, {"decimal_mark": ";"}):
        with pytest.raises(InvalidInput):
            CsvFormat(**wrong)


def test_number_is_refused_with_line_and_column() -> None:
    table = parse_csv(b"a,b\n1,\n1_0,\nx,2\n", "t.csv", ("a", "b"))
    assert table.rows[0].number("b") is None
    with pytest.raises(
        InvalidInput, match=r"t\.csv: 2 bad row\(s\): line 3: column 'a': '1_0' is not a number; line 4"
    ):
        table.read(lambda row: row.number("a"))
    with pytest.raises(InvalidInput, match=r"line 2: no b; line 3: no b"):
        table.read(lambda row: row.text("b"))


def test_cells_are_in_one_form_of_unicode() -> None:
    assert cells("a,b\nJose\u0301,\u00a0x\u3000\n") == [(2, ["José", "x"])]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"t\.csv does not exist"):
        read_csv(tmp_path / "t.csv", ("a",))


def test_list_of_names_is_read(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes("\ufeffann\r\n\n ben x \nca\u2028rl\n".encode())
    assert read_names(file) == ["ann", "ben x", "ca\u2028rl"]
    file.write_bytes(b"ann\nben\nann\n")
    with pytest.raises(InvalidInput, match=r"names\.txt, line 3: 'ann' is on line 1 too"):
        read_names(file)
    file.write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match=r"names\.txt, line 1: not UTF-8"):
        read_names(file)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        table = parse_csv(b"a,b\n" + data, "t.csv", ("a", "b"))
    except InvalidInput:
        return
    assert all(set(row.cells) == {"a", "b"} for row in table.rows)


@pytest.mark.parametrize("column", ["scenes", "scene_"])
def test_column_with_a_near_name_is_a_mistake(column: str) -> None:
    """Otherwise the column would silently not count: images of one scene would fall on both sides of a split."""
    with pytest.raises(InvalidInput, match=f"column '{column}' has no meaning; if it is 'scene', write it so"):
        cells(f"a,b,{column}\n1,2,3\n")


def test_other_columns_may_be_called_as_they_like() -> None:
    assert cells("a,b,scene,scenes\n1,2,3,4\n") == [(2, ["1", "2", "3", "4"])]
    table = parse_csv(b"user_id,question_12\nann,3\n", "t.csv", ("user_id",), ("question_12", "question_13"))
    assert table.columns == ("user_id", "question_12")


@pytest.mark.parametrize("unseen", ["\u200b", "\ufeff", "\u2060", "\u00a0", "\u3000"])
def test_unseen_characters_around_a_cell_do_not_make_another_one(unseen: str) -> None:
    assert cells(f"a,b\n{unseen}s0,s0{unseen}\n") == [(2, ["s0", "s0"])]
