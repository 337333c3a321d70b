"""Tables of all kinds of text: a data folder is read, or refused as invalid with file and line."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paaplus.data.folder import read_folder
from paaplus.errors import InvalidInput
from tests.support.hostile import nearly

GOOD = b"user_id,image,rating\nada,a.jpg,3\nada,b.jpg,4.5\nbob,a.jpg,1\n"
ODD_CELLS = [
    "user_id", "image", "rating", "rating_beauty", "ada", "a.jpg", "3", "nan", "1e400", '"', "\n", ",", "\0", "\r",
    "\ufeff", "'=1+1'", "１", "", "../a.jpg", "\u2028", "\x85",
]  # fmt: skip
CELLS = st.sampled_from(ODD_CELLS) | st.text(max_size=4)
TABLES = st.lists(st.lists(CELLS, max_size=5), max_size=6).map(
    lambda rows: "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / "images" / name).write_bytes(b"not opened")
    return folder


@settings(max_examples=200)
@given(
    data=st.one_of(nearly(GOOD), TABLES, st.binary(max_size=40)), table=st.sampled_from(["ratings", "users", "images"])
)
@example(b'user_id,image,rating\n"' + b"x" * 200_000 + b'",a.jpg,3\n', "ratings")
@example(b"user_id,image,rating\nada,a.jpg,3\0\n", "ratings")
@example(b"user_id,image,rating\rada,a.jpg,3\r", "ratings")
@example(b"\xff\xfeu\0s\0e\0r\0", "users")
@example(b"user_id,image,rating\nada,a.jpg," + b"9" * 400 + b"\nada,b.jpg,1\n", "ratings")
@example(b'user_id,image,rating\n"ada,a.jpg,3\n', "ratings")
@pytest.mark.slow
def test_any_bytes_in_a_table_are_read_or_refused(folder: Path, data: bytes, table: str) -> None:
    for name in ("ratings", "users", "images"):
        (folder / f"{name}.csv").unlink(missing_ok=True)
    (folder / "ratings.csv").write_bytes(GOOD)
    (folder / f"{table}.csv").write_bytes(data)
    refusal = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # people in users.csv who rated nothing
            score_NA = read_folder(folder).score_NA
    except InvalidInput as error:
        refusal = str(error)
    if refusal is not None:
        assert f"{table}.csv" in refusal
        assert len(refusal) < 5_000
        return
    assert np.isfinite(score_NA[~np.isnan(score_NA)]).all()
    assert ((score_NA >= 0) & (score_NA <= 10) | np.isnan(score_NA)).all()
