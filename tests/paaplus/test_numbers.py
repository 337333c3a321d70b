"""Numbers as people write them, and what Python would read as one too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paaplus.errors import InvalidInput
from paaplus.numbers import parse_number, parse_numbers, parse_whole, parse_wholes


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3.0), ("-3.5", -3.5), ("+.5", 0.5), ("4.", 4.0), ("1e-4", 1e-4), ("007", 7.0), ("2E3", 2000.0)],
)
def test_number_is_read(text: str, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1_0",
        "0_3",
        "१",
        "３",
        "٣",
        "nan",
        "inf",
        "-Infinity",
        "0x1",
        "1 000",
        " 3",
        "3 ",
        "3,5",
        "1e",
        "--1",
        "1.2.3",
        "−1",
        "1e99999",
        "9" * 500,
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a"):
        parse_number(text)


def test_decimal_comma_is_read_when_asked_for_and_named_otherwise() -> None:
    assert parse_number("3,5", ",") == 3.5
    with pytest.raises(InvalidInput, match=r"'3,5' is not a number: decimals are after '\.' here"):
        parse_number("3,5")
    with pytest.raises(InvalidInput, match=r"'3\.5' is not a number: decimals are after ',' here"):
        parse_number("3.5", ",")


def test_number_that_overflows_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not a finite number"):
        parse_number("1e999")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_as_it_was_written(value: float) -> None:
    assert parse_number(repr(value)) == value


@pytest.mark.parametrize("text", ["1_0", "１", "1.0", "", "1e3", "9" * 19])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a whole number"):
        parse_whole(text)


def test_lists_are_read() -> None:
    assert parse_wholes("0, 10,25") == (0, 10, 25)
    assert parse_numbers("1,5", 2) == (1.0, 5.0)
    with pytest.raises(InvalidInput, match=r"has 3 numbers .*2 are needed"):
        parse_numbers("1,2,3", 2)
    with pytest.raises(InvalidInput, match="'' is not a number"):
        parse_numbers("1,")
