"""A PhysiqueAA50K folder of a few plain pictures, whose CSV files a test writes as it likes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

HEADER = "pic_name,score_appearance,score_health,score_posture,preference_score_list,bmi,people_answer"
ROW = '{image},{scores},"[0.5, 0.25, 0, 1, 0.75]",21.5,"[1, 1, -1]"'


def row(image: str, scores: str = "1,2.5,10") -> str:
    return ROW.format(image=image, scores=scores)


def write_physique(
    root: Path, train: Sequence[str], val: Sequence[str] = (), folder: str = "pretrain", header: str = HEADER
) -> Path:
    """Pictures a.png to e.png of 8 x 6 pixels, and the two CSV files of one folder."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    for n, name in enumerate("abcde"):
        Image.new("RGB", (8, 6), (50 * n, 100, 200)).save(root / "images" / f"{name}.png")
    (root / folder).mkdir(parents=True, exist_ok=True)
    for part, lines in (("train", train), ("val", val)):
        (root / folder / f"{part}.csv").write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return root
