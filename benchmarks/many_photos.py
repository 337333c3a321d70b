"""`paaplus rank` on a folder of thousands of photographs: seconds, memory, killed in the middle, resumed.

    python benchmarks/many_photos.py [--num 2000] [--large 40] [--seed 0] [--folder DIR] [--record]

The photographs are made: cuts of the built-in pictures with other light, as JPEG of 2 to 6 megapixels, and `--large`
ones of 12 to 60. The first run is killed (SIGKILL) while it reads files, the second while it extracts features, the
third ends. A fourth has nothing to do, and a fifth finds ten new files. Seconds and memory are of the whole process, as
the kernel counts them. The folder is deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from recording import ROOT, record_rows

from paaplus.data.builtin_set.pictures import write_pictures

NUM_ADDED = 10
MEGAPIXELS, LARGE_MEGAPIXELS = (2.0, 6.0), (12.0, 60.0)
KILLED_AT = 0.4  # of the files read; and of the features extracted
POLL_S = 0.2


def make_photographs(folder: Path, numbers: range, num_large: int, seed: int, sources: list[Image.Image]) -> None:
    """Write one JPEG for each number; the same number gives the same picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        rng = np.random.default_rng([seed, number])
        low, high = LARGE_MEGAPIXELS if number < num_large else MEGAPIXELS
        picture = _cut(sources[number % len(sources)], rng)
        if number == 0:
            low = high  # the largest there is
        scale = (rng.uniform(low, high) * 1e6 / (picture.width * picture.height)) ** 0.5
        size = (round(picture.width * scale), round(picture.height * scale))
        picture.resize(size, Image.Resampling.BILINEAR).save(folder / f"{number:05d}.jpg", quality=85)


def _cut(source: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(0.6, 1.0)
    width, height = round(source.width * share), round(source.height * share)
    left, top = (int(rng.integers(0, most + 1)) for most in (source.width - width, source.height - height))
    cut = source.crop((left, top, left + width, top + height))
    cut = ImageEnhance.Brightness(cut).enhance(rng.uniform(0.7, 1.3))
    return ImageEnhance.Color(cut).enhance(rng.uniform(0.6, 1.4))


def rank(folder: Path, home: Path, act: str, is_enough: Callable[[], bool] = lambda: False) -> dict[str, object]:
    """Run `paaplus rank`, and kill it as soon as it has done enough; returns what it took and what it told."""
    environment = {**os.environ, "PAAPLUS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "paaplus.cli.main", "rank", str(folder), "--json"]
    started = time.monotonic()
    with tempfile.TemporaryFile() as answer:
        process = subprocess.Popen(command, env=environment, stdout=answer, stderr=subprocess.DEVNULL)
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if is_enough():
                process.send_signal(signal.SIGKILL)
                _, status, usage = os.wait4(process.pid, 0)
                break
            time.sleep(POLL_S)
        process.returncode = os.waitstatus_to_exitcode(status)
        answer.seek(0)
        told = json.loads(answer.read() or b"{}") if process.returncode == 0 else {}
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{act}: exit code {process.returncode}")
    return {
        "act": act,
        "killed": process.returncode != 0,
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "files_known": num_read(home),
        "features": num_extracted(home),
        "new_files": told.get("new_files"),
        "ranked": len(told.get("photos", [])),
        "refused": len(told.get("refused", [])),
    }


def num_read(home: Path) -> int:
    """Files of the catalogue."""
    return sum(line.count(b"\n{") for file in (home / "photos").glob("*.jsonl") for line in [b"\n" + file.read_bytes()])


def num_extracted(home: Path) -> int:
    """Images whose features are stored."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{home}/paaplus.db?mode=ro", uri=True)) as database:
        return int(database.execute("select count(*) from features").fetchone()[0])
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--large", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    place = options.folder or Path(tempfile.mkdtemp(prefix="many-photos-"))
    folder, home = place / "pictures", place / "home"
    try:
        started = time.monotonic()
        sources = [Image.open(file).convert("RGB") for file in write_pictures(place / "sources")]
        make_photographs(folder, range(options.num), options.large, options.seed, sources)
        size_mb = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
        print(f"{options.num} photographs, {size_mb:.0f} MB, made in {time.monotonic() - started:.0f} s", flush=True)
        enough = KILLED_AT * options.num
        rows = [
            _shown(rank(folder, home, "first run, killed while it reads", lambda: num_read(home) >= enough)),
            _shown(rank(folder, home, "second, killed at the features", lambda: num_extracted(home) >= enough)),
            _shown(rank(folder, home, "third, to the end")),
            _shown(rank(folder, home, "fourth, nothing is new")),
        ]
        make_photographs(folder, range(options.num, options.num + NUM_ADDED), options.large, options.seed, sources)
        rows.append(_shown(rank(folder, home, f"fifth, {NUM_ADDED} new files")))
        if options.record:
            command = f"python benchmarks/many_photos.py --num {options.num} --large {options.large}"
            record_rows("many-photos", f"{command} --seed {options.seed}", rows)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _shown(row: dict[str, object]) -> dict[str, object]:
    print(
        f"{row['act']:34} {row['seconds']:>7} s {row['processor_seconds']:>7} s processor {row['peak_mb']:>5} MB  "
        f"known {row['files_known']}, features {row['features']}, new {row['new_files']}, ranked {row['ranked']}, "
        f"refused {row['refused']}",
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
