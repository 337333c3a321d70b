"""Sidecars as text: other programs read the stars, and ours tell apart whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from paaplus.photos import sidecars, xmp


def test_sidecars_are_named_as_programs_look_for_them_and_stay_inside_the_folder() -> None:
    found = sidecars.names(["a.jpg", "trip/b.jpg", "trip/b.nef", "../../etc/c.jpg", "a.jpg", "d", ""])
    assert found == [
        "a.jpg.xmp", "trip/b.jpg.xmp", "trip/b.xmp", "etc/c.xmp", "a.jpg (2).xmp", "d.xmp", "photo.xmp",
    ]  # fmt: skip
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("given", [None, 5])
def test_stars_of_the_score_are_ours_and_given_ones_the_persons(tmp_path: Path, given: int | None) -> None:
    pytest.importorskip("pyexiv2")
    photograph = tmp_path / "a.jpg"
    photograph.write_bytes(b"")
    (tmp_path / "a.xmp").write_text(sidecars.text(3, given, 6.2, 5.1, 'Ann "A" <b>'), encoding="utf-8")
    with xmp._exiv2().Image(str(tmp_path / "a.xmp")) as image:
        fields = image.read_xmp()
    assert fields["Xmp.xmp.Rating"] == str(given or 3)
    assert (fields["Xmp.paaplus.Score"], fields["Xmp.paaplus.GenericScore"]) == ("6.200", "5.100")
    assert fields["Xmp.paaplus.User"] == 'Ann "A" <b>'
    assert ("Xmp.paaplus.Stars" in fields) == (given is None)
    assert xmp._is_persons(fields) == (given is not None)
