"""Tools that are read from files: CSVs of scores, NIMA heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from paaplus.errors import InvalidInput
from paaplus.tools.nima import NimaHead, NimaTool, read_head
from paaplus.tools.precomputed import UNKNOWN_CONFIDENCE, read_csv
from paaplus.tools.tool import ToolImage


def test_csv_gives_each_image_the_scores_of_its_row(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("\ufeffimage,beauty,health,confidence\na.jpg,3,4.5,0.9\nb.jpg,,10,\n", encoding="utf-8")
    tool = read_csv(file, "precomputed:them")
    a, b, c = tool.score([ToolImage(names=(name,)) for name in ("a.jpg", "b.jpg", "c.jpg")])
    assert (a.scores, a.confidences) == ({"beauty": 3.0, "health": 4.5}, {"beauty": 0.9, "health": 0.9})
    assert (b.scores, b.confidences) == ({"health": 10.0}, {"health": UNKNOWN_CONFIDENCE})
    assert c.scores == {}
    assert tool.aspects == ("beauty", "health")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\na\n", "line 1: no column of an aspect"),
        ("picture,beauty\na,1\n", "line 1: no column 'image'"),
        ("image,beauty\na,11\n", "line 2: beauty: a score of 11.0"),
        ("image,beauty\na,1\na,1\n", "line 3: image 'a' is on line 2 too"),
        ("image,beauty\na,x\n", "line 2: column 'beauty': 'x' is not a number"),
        ("image,beauty\na,nan\n", "line 2: column 'beauty': 'nan' is not a number"),
        ("image,beauty\na\n", "line 2: 1 values under 2 columns"),
        ("image,beauty\na,1,2\n", "line 2: 3 values under 2 columns"),
        ("image,beauty\n,1\n", "line 2: no image"),
        ("image,beauty,confidence\na,1,2\n", "line 2: beauty: a confidence of 2.0"),
        ("image,beauty,beauty\na,1,2\n", "line 1: column 'beauty' occurs twice"),
        ("", "line 1: no column 'image'"),
    ],
)
def test_wrong_csv_is_refused_with_the_line_number(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=f"a.csv[:,] {message}"):
        read_csv(file)


def test_name_of_a_source_is_checked(tmp_path: Path) -> None:
    for name in ("generic", "precomputed:", "precomputed:Upper", "precomputed:" + "a" * 50):
        with pytest.raises(InvalidInput, match="must be 'precomputed' or"):
            read_csv(tmp_path / "none.csv", name)


def head(bias_N: np.ndarray) -> NimaTool:
    return NimaTool(
        NimaHead(np.zeros((10, 3), np.float32), bias_N.astype(np.float32), "d" * 64), "aesthetics", "e" * 64
    )


def test_nima_scores_are_mean_and_spread_of_its_ten_bins() -> None:
    one = ToolImage(features_D=np.zeros(3, np.float16))
    even = head(np.zeros(10)).score([one])[0]
    assert even.scores["aesthetics"] == pytest.approx(5.0)  # mean 5.5 of 1-10
    sd = np.std(np.arange(1, 11)) * 10 / 9
    from scipy.stats import norm

    assert even.confidences["aesthetics"] == pytest.approx(2 * norm.cdf(1 / sd) - 1)
    sure = head(np.where(np.arange(10) == 9, 50.0, 0.0)).score([one])[0]
    assert sure.scores["aesthetics"] == pytest.approx(10.0)
    assert sure.confidences["aesthetics"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "arrays",
    [
        {"weight": np.zeros((5, 4), np.float32), "bias": np.zeros(5, np.float32)},
        {"weight": np.zeros((10, 4), np.float32)},
        {"weight": np.full((10, 4), np.nan, np.float32), "bias": np.zeros(10, np.float32)},
        {f"{n}.weight": np.zeros((10, 4), np.float32) for n in "ab"} | {"a.bias": np.zeros(10, np.float32)},
    ],
)
def test_file_without_a_head_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    save_file(arrays, tmp_path / "h.safetensors")
    with pytest.raises(InvalidInput):
        read_head(tmp_path / "h.safetensors")


def test_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "h.safetensors").write_bytes(b"\x80\x04evil")
    with pytest.raises(InvalidInput, match="NIMA head"):
        read_head(tmp_path / "h.safetensors")
    with pytest.raises(InvalidInput, match="NIMA head"):
        read_head(tmp_path / "missing.safetensors")


def test_head_for_other_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="the head is for 3"):
        head(np.zeros(10)).score([ToolImage(features_D=np.zeros(4, np.float16))])
