"""Synthetic miniatures of published data sets, in the files and columns of their releases. Nobody's photographs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

NUM_IMAGES, NUM_PEOPLE = 24, 6


def pictures(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((24, 24)).save(folder / name)


def write(file: Path, lines: Iterable[str], encoding: str = "utf-8") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding=encoding)


def ratings(low: int = 1, high: int = 5) -> Iterable[tuple[int, int, int]]:
    """(person, image, rating) of everybody."""
    rng = np.random.default_rng(0)
    for person in range(NUM_PEOPLE):
        for image in range(NUM_IMAGES):
            yield person, image, int(rng.integers(low, high + 1))


def flickr_aes(root: Path) -> None:
    names = [f"farm1_1_{i}_b.jpg" for i in range(NUM_IMAGES)]
    pictures(root / "40K", names)
    rows = [f"A{person}, {names[image]}, {rating}" for person, image, rating in ratings()]
    write(root / "FLICKR-AES_image_labeled_by_each_worker.csv", ["worker, imagePair, score", *rows, "A0, gone.jpg, 3"])
    write(root / "FLICKR-AES_image_score.txt", [f"{name} .5" for name in names])
    write(root / "test_workers_ID.csv", ["ID", "A1", "A4"])


def para(root: Path) -> None:
    names = [f"iaa_pub{i}_.jpg" for i in range(NUM_IMAGES)]
    for i, name in enumerate(names):
        pictures(root / "imgs" / f"session{i // 12 + 1}", [name])
    head = "sessionId,imageName,userId,aestheticScore,qualityScore,compositionScore,colorScore,semantic"
    rows = [f"session{i // 12 + 1},{names[i]},u{p},{rating}.5,3,3,3,portrait" for p, i, rating in ratings(1, 4)]
    write(root / "annotation/PARA-Images.csv", [head, *rows])
    write(
        root / "annotation/PARA-UserInfo.csv", ["userId,age,gender", *(f"u{p},22-25,female" for p in range(NUM_PEOPLE))]
    )
    test = [f"{name},session1,portrait" for name in names[12:]]
    write(root / "annotation/PARA-GiaaTest.csv", ["imageName,sessionId,semantic", *test])


def aadb(root: Path) -> None:
    names = [f"farm{i % 3}_10_{i}_abc_b.jpg" for i in range(20)]
    pictures(root / "datasetImages_originalSize", names[:15])
    pictures(root / "AADB_newtest_originalSize", names[15:])
    urls = [f"https://farm{i % 3}.staticflickr.com/10/{i}_abc_b.jpg" for i in range(20)]
    columns = [f"{kind}{n}" for n in range(1, 11) for kind in ("Input.image_url", "Answer.overallScore")]
    given = {(person, image): rating for person, image, rating in ratings()}
    rows = []
    for person in range(NUM_PEOPLE):
        for start in (0, 10):
            cells = [cell for i in range(start, start + 10) for cell in (urls[i], str(given[person, i]))]
            rows.append(",".join([f"W{person}", *cells]))
    write(root / "AADB_AllinAll.csv", [",".join(["WorkerId", *columns]), *rows])
    listed = [f"{name} .5" for name in names[15:]]
    write(root / "imgListFiles_label/imgListTestNewRegression_score.txt", listed)


def real_cur(root: Path) -> None:
    for person in range(3):
        for score in range(1, 6):
            pictures(root / f"album{person}" / str(score), [f"IMG_{score}{i}.JPG" for i in range(3)])


def lapis(root: Path) -> None:
    names = [f"ren\u00e9_work-{i}.jpg" for i in range(NUM_IMAGES)]
    pictures(root / "images", names)
    head = "participant_id,image_id,image_filename,rating,style,age,demo_gender"
    rows = [
        f"p{person},{image},{names[image]},{20 * rating},Cubism,30,female" for person, image, rating in ratings(0, 5)
    ]
    write(root / "annotation/LAPIS_PIAA.csv", [head, *rows], encoding="latin-1")
    write(root / "imageset/TestImageSet.txt", names[12:])
    write(root / "userset/TestUserIDs_Fold1.txt", ["p1", "p2"])


def eva(root: Path) -> None:
    pictures(root / "images/EVA_together", [f"{100 + i}.jpg" for i in range(NUM_IMAGES)])
    head = "image_id=user_id=score=difficulty=visual=composition=quality=semantic=vote_time=1=2=3=4"
    rows = [f"{100 + image}=E{person}={rating}=3=3=3=3=3=9=1=0=0=0" for person, image, rating in ratings(0, 10)]
    write(root / "data/votes_filtered.csv", [head, *rows])
    categories = [f'"{100 + i}","{i % 6 + 1}"' for i in range(NUM_IMAGES)]
    write(root / "data/image_content_category.csv", ['"image_id","category"', *categories])


def ava(root: Path) -> None:
    pictures(root / "images", [f"{200 + i}.jpg" for i in range(NUM_IMAGES)])
    rng = np.random.default_rng(1)
    votes = [" ".join(map(str, rng.integers(0, 20, 10) + 1)) for _ in range(NUM_IMAGES)]
    write(root / "AVA.txt", [f"{i + 1} {200 + i} {votes[i]} {i % 2 + 1} 0 738" for i in range(NUM_IMAGES)])
    write(root / "tags.txt", ["1 Abstract", "2 Cityscape Night"])
    write(root / "aesthetics_image_lists/generic_test.jpgl", [str(200 + i) for i in range(16, NUM_IMAGES)])


def tad66k(root: Path) -> None:
    names = [f"{i}@N01.jpg" for i in range(NUM_IMAGES)]
    pictures(root / "TAD66K", names)
    for split, some in (("train", names[:16]), ("test", names[16:])):
        rows = [f"{name},{i % 9}.25" for i, name in enumerate(some)]
        write(root / f"labels/merge/{split}.csv", ["image,score", *rows])
        write(root / f"labels/unmerge/flower/{split}.csv", ["image,score", *rows[::2]])


def spaq(root: Path) -> None:
    names = [f"{i:05}.jpg" for i in range(1, NUM_IMAGES + 1)]
    pictures(root / "TestImage", names)
    head = ["Image name", "MOS", "Brightness"]
    table = [head, *([name, f"{30 + i}.5", "60"] for i, name in enumerate(names))]
    strings = list(
        dict.fromkeys(cell for row in table for cell in row if not cell.replace(".", "").isdigit() or cell in names)
    )
    xml = "".join(
        "<row>" + "".join(_cell("ABC"[c], r, cell, strings) for c, cell in enumerate(row)) + "</row>"
        for r, row in enumerate(table, start=1)
    )
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    (root / "Annotations").mkdir(parents=True)
    with zipfile.ZipFile(root / "Annotations" / "MOS and Image attribute scores.xlsx", "w") as parts:
        parts.writestr("xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData>{xml}</sheetData></worksheet>")
        items = "".join(f"<si><t>{escape(one)}</t></si>" for one in strings)
        parts.writestr("xl/sharedStrings.xml", f"<sst {space}>{items}</sst>")


def _cell(column: str, row: int, text: str, strings: list[str]) -> str:
    if text in strings:
        return f'<c r="{column}{row}" t="s"><v>{strings.index(text)}</v></c>'
    return f'<c r="{column}{row}"><v>{text}</v></c>'


RELEASES: dict[str, Callable[[Path], None]] = {
    "flickr-aes": flickr_aes,
    "para": para,
    "aadb": aadb,
    "real-cur": real_cur,
    "lapis": lapis,
    "eva": eva,
    "ava": ava,
    "tad66k": tad66k,
    "spaq": spaq,
}
