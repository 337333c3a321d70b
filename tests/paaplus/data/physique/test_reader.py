from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paaplus.data.physique.reader import parse_preference, person_types, read_split, validate
from paaplus.errors import InvalidInput
from tests.paaplus.data.physique.physique_folder import HEADER, row, write_physique


def test_rows_are_read_when_the_file_is_right(tmp_path: Path) -> None:
    write_physique(tmp_path, [row("a.png"), row("b.png", "0,10,5")], [row("c.png")])
    train, val = read_split(tmp_path, "expert")
    assert (train.images, val.images) == (("a.png", "b.png"), ("c.png",))
    np.testing.assert_array_equal(train.score_NA, [[1, 2.5, 10], [0, 10, 5]])
    np.testing.assert_array_equal(train.preference_NP[0], [0.5, 0.25, 0, 1, 0.75])
    assert (train.bmi_N[0], train.answers[0], train.line_N.tolist()) == (21.5, "[1, 1, -1]", [2, 3])
    assert train.image_path("a.png") == tmp_path / "images" / "a.png"


def test_old_column_names_and_missing_extras_are_read_in_any_order(tmp_path: Path) -> None:
    header = "preference_score_list,score_pose,score_shape,score,pic_name"
    write_physique(tmp_path, ['"[0, 0, 0, 0, 0]",3,2,1,a.png'], ['"[0,0,0,0,0]",3,2,1,b.png'], header=header)
    train, _ = read_split(tmp_path, "expert")
    np.testing.assert_array_equal(train.score_NA, [[1, 2, 3]])  # appearance, health, posture
    assert np.isnan(train.bmi_N).all()
    assert train.answers == ("",)


def test_a_type_is_required_when_a_split_has_several(tmp_path: Path) -> None:
    for name in ("ISFJ", "ESFJ"):
        write_physique(tmp_path, [row("a.png")], [row("b.png")], folder=f"user/{name}")
    assert person_types(tmp_path, "user") == ("ESFJ", "ISFJ")
    assert read_split(tmp_path, "user", "ISFJ")[0].file == tmp_path / "user" / "ISFJ" / "train.csv"
    with pytest.raises(InvalidInput, match="a type is required"):
        read_split(tmp_path, "user")
    with pytest.raises(InvalidInput, match=r"'ENTP'.*ESFJ"):
        read_split(tmp_path, "user", "ENTP")
    with pytest.raises(InvalidInput, match=r"known: .*expert"):
        read_split(tmp_path, "experts")
    with pytest.raises(InvalidInput, match="is missing"):
        read_split(tmp_path, "finetune", "ISFJ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row("absent.png"), "does not exist"),
        (row("../a.png"), "is not a file name inside the image folder"),
        (row("/etc/a.png"), "is not a file name inside the image folder"),
        (row("a.txt"), "does not end in one of .jpg"),
        (row("a.png", "1,2,10.5"), "score_posture '10.5' is not a number from 0 to 10"),
        (row("a.png", "1,nan,3"), "score_health 'nan'"),
        (row("a.png", "1,,3"), "score_health ''"),
        (row("a.png").replace("1, 0.75", "1"), "is not a list of 5 numbers"),
        (row("a.png").replace("[0.5", "[NaN"), "not 5 finite numbers"),
        (row("a.png").replace("[0.5", "[True"), "is not a list of numbers"),
        (
            row("a.png").replace('"[0.5, 0.25, 0, 1, 0.75]"', "\"__import__('os').system('true')\""),
            "is not a list of numbers",
        ),
        (row("a.png").replace("21.5", "-3"), "bmi '-3'"),
        (row("a.png") + ",more", "8 cells, the header has 7"),
    ],
)
def test_a_bad_row_is_reported_with_its_line(line: str, message: str, tmp_path: Path) -> None:
    write_physique(tmp_path, [row("b.png"), "", line, row("c.png")], [row("d.png")])
    num_rows, problems = validate(tmp_path)
    assert num_rows == 4
    assert [(p.file.name, p.line, p.severity) for p in problems] == [("train.csv", 4, "error")]
    with pytest.raises(InvalidInput, match=f"train.csv, line 4: .*{message}"):
        read_split(tmp_path, "expert")


def test_every_bad_row_is_reported_when_there_are_many(tmp_path: Path) -> None:
    bad = [row("a.png", f"{n % 10},11,12") for n in range(20)]
    write_physique(tmp_path, bad, [row("b.png")])
    _, problems = validate(tmp_path)
    assert len({problem.line for problem in problems}) == 20
    with pytest.raises(InvalidInput, match="and 49 more"):  # two scores each, and 19 repeat the image
        read_split(tmp_path, "expert")


def test_line_numbers_count_lines_when_a_cell_has_several(tmp_path: Path) -> None:
    long = row("a.png").replace('"[1, 1, -1]"', '"first\nsecond"')
    write_physique(tmp_path, [long, row("b.png", "1,2,-1")], [row("c.png")])
    assert [problem.line for problem in validate(tmp_path)[1]] == [4]


def test_repeats_leaks_and_unknown_columns_are_reported(tmp_path: Path) -> None:
    write_physique(tmp_path, [row("a.png"), row("a.png")], [row("a.png")])
    _, problems = validate(tmp_path)
    assert [(p.file.name, p.line, p.severity) for p in problems] == [
        ("train.csv", 3, "error"),
        ("val.csv", 2, "warning"),
    ]
    write_physique(tmp_path, [row("a.png") + ",x"], [row("b.png") + ",x"], header=HEADER + ",mood")
    train, _ = read_split(tmp_path, "expert")
    assert len(train) == 1
    assert [p.message for p in validate(tmp_path)[1]] == ["column 'mood' is unknown and not read"] * 2


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace("score_health", "health"), r"column score_health \(or score_shape\) is missing"),
        (HEADER + ",score", "column 'score' is a second score_appearance"),
        ("", "column pic_name is missing"),
    ],
)
def test_a_wrong_header_is_reported_as_line_1(header: str, message: str, tmp_path: Path) -> None:
    write_physique(tmp_path, [row("a.png")], [row("b.png")], header=header)
    with pytest.raises(InvalidInput, match=f"train.csv, line 1: {message}"):
        read_split(tmp_path, "expert")


def test_validation_fails_without_any_file_of_the_layout(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no pretrain/"):
        validate(tmp_path)
    write_physique(tmp_path, [row("a.png")])
    (tmp_path / "pretrain" / "val.csv").unlink()
    assert [problem.message for problem in validate(tmp_path)[1]] == ["the file is missing"]


def test_bytes_that_are_not_text_are_reported(tmp_path: Path) -> None:
    write_physique(tmp_path, [row("a.png")], [row("b.png")])
    (tmp_path / "pretrain" / "val.csv").write_bytes(HEADER.encode() + b"\n\xff\xfe\x00")
    assert "not UTF-8" in validate(tmp_path)[1][0].message


def test_preference_is_numbers_when_written_as_json() -> None:
    assert parse_preference("[1, 0.5, -2e-1, 0, 3]") == (1.0, 0.5, -0.2, 0.0, 3.0)
    with pytest.raises(InvalidInput, match="is not a list of numbers"):
        parse_preference("[" * 100_000)
