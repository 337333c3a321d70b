"""Makes docs/pictures/contact-sheet.png as the README says: rank the built-in pictures, rate 28 of them, rank again.

    python -m tests.developer.picture_contact_sheet [--keep DIR] [--no-picture]

It works in an empty home, types the keys into a terminal, and tells how long each command took. Chromium draws the
sheet. The picture `motorcycle` is left out, as its package names no licence.
"""

import argparse
import os
import pty
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "pictures" / "contact-sheet.png"
LEFT_OUT = "motorcycle"
NUM_ANSWERS = 28
WIDTH_PX, HEIGHT_PX, PHONE_PX = 1280, 1000, 390
# As Anna of the README: warm colours and things close by, no wide views. Everybody's order begins with those.
STARS = {
    5: "still_life city_bokeh candlelight coffee stained_glass woven_cloth flower_meadow",
    4: "portrait checker_hall brick_wall bookshelf butterfly chelsea flower skyline_dusk",
    3: "rainy_window leaf_veins lavender_rows sunset_sea coral_reef",
    2: "walkers astronaut balloons birch_forest desert_road spiral_galaxy grace_hopper immunohistochemistry",
    1: "misty_hills snow_mountain mirror_lake winter_house starry_night aurora rocket china dunes hubble_deep_field "
    "retina",
}
KEYS = {name: str(stars) for stars, names in STARS.items() for name in names.split()}


def paaplus(home: Path, *arguments: str, **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PAAPLUS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "paaplus.cli.main", *arguments]
    return subprocess.Popen(command, env=environment, text=True, **options)  # type: ignore[call-overload, no-any-return]


class Clock:
    """Seconds since it was made, and seconds of processor that ended child processes took since."""

    def __init__(self) -> None:
        self.started, self.processor_s = time.monotonic(), self._children_s()

    @staticmethod
    def _children_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def __str__(self) -> str:
        seconds, processor_s = time.monotonic() - self.started, self._children_s() - self.processor_s
        return f"{seconds:.0f} s, {processor_s:.0f} s of processor, load {os.getloadavg()[0]:.1f}"


def run(home: Path, *arguments: str) -> None:
    clock = Clock()
    if paaplus(home, *arguments).wait() != 0:
        raise SystemExit(f"paaplus {' '.join(arguments)} failed")
    print(f"paaplus {arguments[0]}: {clock}", flush=True)


def rate(home: Path, folder: Path) -> None:
    """Answer as the person of `STARS` would, by the names that the command shows."""
    clock = Clock()
    keyboard, terminal = pty.openpty()
    process = paaplus(home, "rate", str(folder), "--terminal", stdin=terminal, stderr=subprocess.PIPE)
    os.close(terminal)
    assert process.stderr is not None
    num_answers = 0
    for line in process.stderr:
        if (shown := re.match(r"\d+\. (.*)\.jpg$", line.strip())) is None:
            continue
        if num_answers == NUM_ANSWERS:
            os.write(keyboard, b"q")
            continue
        num_answers += 1
        os.write(keyboard, KEYS[Path(shown[1]).name].encode())
    if process.wait() != 0:
        raise SystemExit("paaplus rate failed")
    os.close(keyboard)
    print(f"paaplus rate, {num_answers} answers: {clock}", flush=True)


def screenshot(page: Path, file: Path, width_px: int) -> None:
    """What a browser of this width shows first."""
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--window-size={width_px},{HEIGHT_PX}",
    ]
    command = ["chromium", *flags, f"--screenshot={file}", page.resolve().as_uri()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="keep home, pictures, sheet and screenshots in this folder")
    parser.add_argument("--no-picture", action="store_true", help="only take the time")
    options = parser.parse_args()
    place = options.keep or Path(tempfile.mkdtemp(prefix="contact-sheet-"))
    place.mkdir(parents=True, exist_ok=True)
    home, folder, sheet = place / "home", place / "pictures", place / "sheet.html"
    run(home, "data", "pictures", str(folder))
    (folder / f"{LEFT_OUT}.jpg").unlink(missing_ok=True)
    clock = Clock()
    run(home, "rank", str(folder))
    rate(home, folder)
    run(home, "rank", str(folder), "--sheet", str(sheet))
    print(f"all three: {clock}")
    if options.no_picture:
        return
    for width_px in (WIDTH_PX, PHONE_PX):
        screenshot(sheet, place / f"{width_px}.png", width_px)
    with Image.open(place / f"{WIDTH_PX}.png") as picture:
        colours = picture.convert("RGB").quantize(256)
        dithered = picture.convert("RGB").quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG)
        dithered.save(PICTURE, optimize=True)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
