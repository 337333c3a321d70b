"""Ctrl-C in commands that take long: one line, exit code 130, nothing half written, and no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables import ImageRow
from paaplus.services.images import uploads
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

NUM_IMAGES = 400
WAIT_S = 300.0


def _heed_ctrl_c() -> None:
    """As in a terminal: what a shell starts in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Command:
    """`paaplus ARGUMENTS` in a process group of its own, as in a terminal."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.log = home.parent / "command.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PAAPLUS_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paaplus.cli.main", *arguments],
                env=environment | {"PAAPLUS_HOME": str(home), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_heed_ctrl_c,
            )

    def interrupt_when(self, has_begun: Callable[[], bool]) -> str:
        """Press Ctrl-C in the middle of the work; returns what the command printed."""
        self.wait_until(has_begun)
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(WAIT_S)
        return self.output()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert self.process.poll() is None, f"it ended: {self.output()}"
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder of many small pictures, which eight people have rated."""
    rng = np.random.default_rng(0)
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    for number in range(NUM_IMAGES):
        pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    lines = [f"u{user},{number}.png,{1 + (7 * user + number) % 7}" for user in range(8) for number in range(NUM_IMAGES)]
    (tmp_path / "data" / "ratings.csv").write_text("\n".join(["user_id,image,rating", *lines]) + "\n")
    return tmp_path / "data"


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def is_one_line(output: str) -> bool:
    return output.strip().splitlines()[-1] == "interrupted" and "Traceback" not in output and "Error" not in output


def test_adding_images_keeps_whole_ones_and_can_be_continued(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One upload may have begun: what it wrote before its row is found by a sweep, which would wait for an hour."""
    settings = Settings(home=tmp_path / "home")
    migrate.upgrade(settings.resolved_database_url)
    arguments = ("images", "add", str(folder / "images"), "--application", "app")
    blobs_folder = tmp_path / "home" / "blobs"
    command = Command(tmp_path / "home", *arguments)
    try:
        output = command.interrupt_when(lambda: len(files_in(blobs_folder)) > 2)
    finally:
        command.end()
    assert (command.process.returncode, is_one_line(output)) == (130, True), output
    database, blobs = Database(settings.resolved_database_url), BlobStore(settings.resolved_storage_url)
    with database.read_session() as session:
        digests = set(session.execute(sa.select(ImageRow.sha256)).scalars())
    assert 0 < len(digests) < NUM_IMAGES
    assert all(blobs.is_intact(digest) for digest in digests)
    assert len(blobs.list_staged()) <= 1
    monkeypatch.setattr(uploads, "STAGED_FOR", -timedelta(seconds=5))
    uploads.sweep(database, blobs)
    database.dispose()
    assert {file.name for file in files_in(blobs_folder)} == digests, "no file without a row, and nothing staged"


def test_a_study_leaves_no_report_and_whole_features(folder: Path, tmp_path: Path) -> None:
    """While it extracts: a package that is being imported, or a network that is being exported, may swallow Ctrl-C."""
    home, out = tmp_path / "home", tmp_path / "out"
    command = Command(home, "evaluate", "kshot", "--data", str(folder), "--out", str(out))
    try:
        output = command.interrupt_when(lambda: sum(file.suffix == ".safetensors" for file in files_in(home)) > 3)
    finally:
        command.end()
    assert (command.process.returncode, is_one_line(output)) == (130, True), output
    assert files_in(out) == []
    assert [file for file in files_in(home) if file.suffix == ".tmp"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_the_whole_platform_ends_with_its_children(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = Command(home, "up", "--port", "0")
    try:
        command.wait_until(lambda: "ready:" in command.output())
        assert len(processes_of(home)) == 4, "itself, API, worker and scheduler"
        output = command.interrupt_when(lambda: True)
    finally:
        command.end()
    assert (command.process.returncode, processes_of(home)) == (0, []), "it ends in order, as SIGTERM ends it"
    assert "Traceback" not in output
    assert output.strip().splitlines()[-1] == "stopped"


def processes_of(home: Path) -> list[int]:
    """Processes whose environment names this deployment, but for those that have ended."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if f"PAAPLUS_HOME={home}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has ended, or is nobody's
            continue
    return found
