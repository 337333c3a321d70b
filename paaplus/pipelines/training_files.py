"""The files of a training: state and log. Every write is atomic, so a killed process leaves no partial file."""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paaplus.errors import InvalidInput
from paaplus.whole_files import write_atomically


@dataclass(frozen=True)
class TrainingState:
    """The state of a training: only tensors and plain values, so that reading a file executes no code."""

    network: dict[str, Tensor]
    loss: dict[str, Tensor]
    optimizer: dict[str, Any]
    random: Tensor  # state of torch's generator on the CPU
    progress: dict[str, Any]


def write_state(file: Path, state: TrainingState) -> None:
    """Replace the state file."""
    buffer = io.BytesIO()
    torch.save({f.name: getattr(state, f.name) for f in fields(state)}, buffer)
    write_atomically(file, buffer.getbuffer())


def read_state(file: Path) -> TrainingState | None:
    """The stored state; None: there is no file.

    Raises:
        InvalidInput: the file is not a state.
    """
    if not file.is_file():
        return None
    try:
        return TrainingState(**torch.load(file, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError) as error:
        raise InvalidInput(f"{file} is not the state of a training: {error}; remove it to start again") from error


def write_log(file: Path, rows: Sequence[dict[str, float]]) -> None:
    """Replace the log: a CSV with one row per epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(file, text.getvalue().encode())
