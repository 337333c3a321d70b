"""A file is there whole or not at all; what is no regular file is written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paaplus import whole_files
from paaplus.whole_files import write_atomically


def test_file_keeps_its_content_if_the_new_one_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "order.csv"
    write_atomically(file, b"old")

    def full(_: int) -> None:
        raise OSError(28, "no room")

    monkeypatch.setattr(whole_files.os, "fsync", full)
    with pytest.raises(OSError, match="no room"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file], "nothing unfinished is left"


def test_link_stays_a_link_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(file)
    write_atomically(link, b"through")
    assert link.is_symlink()
    assert file.read_bytes() == b"through"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, b"piped")
    assert os.read(reader, 10) == b"piped"
    os.close(reader)
