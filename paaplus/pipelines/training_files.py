"""A training's files: state, log and anything else, each there whole or not at all, whenever the process is killed."""

from __future__ import annotations

import csv
import io
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paaplus.errors import InvalidInput


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands. All of it is tensors and plain values: read without running anything."""

    network: dict[str, Tensor]
    loss: dict[str, Tensor]
    optimizer: dict[str, Any]
    random: Tensor  # of torch, on the CPU
    progress: dict[str, Any]


def write_state(file: Path, state: TrainingState) -> None:
    """Replace the state by a newer one."""
    buffer = io.BytesIO()
    torch.save({f.name: getattr(state, f.name) for f in fields(state)}, buffer)
    write_atomically(file, buffer.getbuffer())


def read_state(file: Path) -> TrainingState | None:
    """The state, None where there is none.

    Raises:
        InvalidInput: a file that is no state.
    """
    if not file.is_file():
        return None
    try:
        return TrainingState(**torch.load(file, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError) as error:
        raise InvalidInput(f"{file} is no state of a training: {error}; remove it to begin anew") from error


def write_log(file: Path, rows: Sequence[dict[str, float]]) -> None:
    """One row an epoch, as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(file, text.getvalue().encode())


def write_atomically(file: Path, content: bytes | memoryview) -> None:
    """Write beside and rename: a reader, or the next start, sees the old content or the new one."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
