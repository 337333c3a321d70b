"""Names, texts and ids in every script; what is refused is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paaplus.errors import InvalidInput
from paaplus.texts import (
    checked_id,
    checked_id_characters,
    clean_name,
    clean_text,
    fitting_name,
    is_id,
    parse_json,
    printable,
    trimmed_name,
    trimmed_text,
    without_refused,
)

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # three people, joined to one character


@pytest.mark.parametrize(
    "text",
    [
        "山田\u3000太郎",
        "Dr.\u00a0Ada",
        "Aimez-vous cette photo\u202f?",
        "می\u200cخواهم",
        FAMILY,
        "O\u2019Brien",
        "नेपाली\u200d",
        "\U0001fae8",
        "\U000323af",
        "line\u2028separator",
        "\ue000",
    ],
)
def test_every_script_has_its_spaces_and_joiners(text: str) -> None:
    assert clean_name(text, 100) == text
    assert clean_text(text, 100) == text


def test_names_and_texts_are_trimmed_and_in_one_form() -> None:
    assert clean_name("\u3000 Jose\u0301\u00a0\n", 100) == "José"
    assert clean_text("\r\nline one\r\nline two\r\tthree\n", 100) == "line one\nline two\n\tthree"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\0b", r"the name has U\+0000 at position 2: a control character"),
        ("a\x1fb", r"U\+001F at position 2: a control character"),
        ("a\x85b", r"U\+0085 at position 2"),
        ("a\nb", r"U\+000A at position 2: a control character"),
        ("ab\ud800", r"U\+D800 at position 3: half of a surrogate pair"),
        ("\ufffe", r"U\+FFFE at position 1: not a character of Unicode"),
        ("\U0002fffe", r"U\+2FFFE at position 1: not a character"),
        ("\u0378", r"U\+0378 at position 1: not a character"),
        ("", "the name is empty"),
        (" \u3000", "the name is empty"),
        ("x" * 11, "the name has 11 characters; at most 10"),
    ],
)
def test_refusal_names_the_character_and_why(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        clean_name(text, 10)


def test_length_is_in_characters_of_what_is_stored() -> None:
    assert len(clean_name("e\u0301" * 10, 10)) == 10
    assert clean_name("  " + "\U0001f600" * 10 + "  ", 10) == "\U0001f600" * 10
    assert clean_text("a\r\nb", 3) == "a\nb"


def test_text_takes_tabs_and_lines_and_no_other_control_character() -> None:
    assert clean_text("one\ttwo\nthree", 100) == "one\ttwo\nthree"
    with pytest.raises(InvalidInput, match=r"the reason has U\+0007 at position 4"):
        clean_text("ring\x07".replace("g", ""), 100, "the reason")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ada", "begins or ends with a space"),
        ("ada\u3000", "begins or ends with a space"),
        ("Jose\u0301", "is not in Unicode's form NFC"),
        ("a\u2028b", r"U\+2028 \(LINE SEPARATOR\) at position 2: it ends a line"),
        ("a\u202eb", r"U\+202E \(RIGHT-TO-LEFT OVERRIDE\) at position 2"),
        ("a\tb", r"U\+0009 at position 2"),
        ("", "is empty"),
        ("a" * 129, "has 129 characters; at most 128"),
    ],
)
def test_id_is_refused_and_never_changed(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        checked_id(text, 128)
    for fine in ("ada", "山田 太郎", FAMILY, "a.b-c_d:e"):
        assert checked_id(fine, 128) == fine
    assert not is_id(text) or len(text) > 128
    assert not is_id(3)


def test_name_of_a_file_loses_only_what_is_refused() -> None:
    assert (
        without_refused("Screenshot 2026-11-22 at 9.30.00\u202fPM.png")
        == "Screenshot 2026-11-22 at 9.30.00\u202fPM.png"
    )
    assert without_refused("be\0ach\u202e.jpg") == "beach.jpg"
    assert without_refused("e\u0301.jpg") == "é.jpg"


@given(st.text(max_size=30))
def test_cleaning_twice_changes_nothing_and_what_is_left_can_be_stored(text: str) -> None:
    try:
        once = clean_text(text, 40)
    except InvalidInput:
        return
    assert clean_text(once, 40) == once
    assert "\0" not in once
    once.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "form: a occurs twice"),
        ('{"a": [{"b": 1, "\\u0062": 2}]}', "form: b occurs twice"),
        ('{"a": NaN}', "form: JSON has no NaN"),
        ('{"a": -Infinity}', "form: JSON has no -Infinity"),
        ("{'a': 1}", "form: Expecting property name"),
        ("[" * 100_000, "form: maximum recursion"),
        (b"\xff{}", "form: 'utf-8' codec"),
    ],
)
def test_json_that_says_a_thing_twice_or_no_number_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{message}"):
        parse_json(text, "form")


@pytest.mark.parametrize("unseen", ["\u200b", "\u2060", "\ufeff"])
def test_what_nobody_sees_at_the_ends_makes_no_second_name_or_id(unseen: str) -> None:
    """A file with a byte order mark, or a pasted cell, would otherwise make a second user who looks like the first."""
    assert clean_name(f"{unseen}Ada{unseen} ", 10) == clean_text(f" {unseen}Ada", 10) == "Ada"
    for text in (f"{unseen}ada", f"ada{unseen}"):
        with pytest.raises(InvalidInput, match="begins or ends with a space"):
            checked_id(text, 10)
    with pytest.raises(InvalidInput, match="the name is empty"):
        clean_name(unseen, 10)
    assert checked_id(f"a{unseen}b", 10) == f"a{unseen}b"


@pytest.mark.parametrize("unseen", ["\u200d", "\u200c\u200d", "\U000e0041", "\u115f", "\u3164", "\u2800", "\u00ad"])
def test_what_nobody_sees_is_no_name_text_or_id(unseen: str) -> None:
    for check in (trimmed_name, trimmed_text, checked_id_characters):
        with pytest.raises(InvalidInput, match="has no character that can be seen"):
            check(unseen)
    assert checked_id_characters(f"a{unseen}b").startswith("a")


@pytest.mark.parametrize(
    ("stem", "suffix", "name"),
    [
        ("001_a", ".jpg", "001_a.jpg"),
        ("x" * 251, ".jpg", "x" * 251 + ".jpg"),
        ("x" * 252, ".jpg", "x" * 251 + ".jpg"),
        ("\u5199" * 84, ".jpg", "\u5199" * 83 + ".jpg"),
        ("a" + "\u5199" * 84, ".jpg", "a" + "\u5199" * 83 + ".jpg"),
    ],
)
def test_names_of_files_are_cut_between_characters(stem: str, suffix: str, name: str) -> None:
    assert fitting_name(stem, suffix) == name
    assert len(name.encode()) <= 255


@pytest.mark.parametrize(("path", "shown"), [("a/\u00e9.jpg", "a/\u00e9.jpg"), ("caf\udce9.jpg", "caf\\udce9.jpg")])
def test_paths_that_are_no_utf8_can_be_printed(path: str, shown: str) -> None:
    assert printable(path) == shown


@pytest.mark.parametrize("text", ['\ufeff{"a": 1}', b'\xef\xbb\xbf{"a": 1}', '{"a": 1}'])
def test_json_may_begin_with_a_byte_order_mark(text: str | bytes) -> None:
    assert parse_json(text, "a document") == {"a": 1}
