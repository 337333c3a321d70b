"""The broker of the embedded mode: kombu's folder of messages, with atomic writes.

kombu writes a message in the place where workers read it. On a busy machine a worker reads an empty file and crashes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem


class Channel(filesystem.Channel):  # type: ignore[misc]
    """A channel that renames a message to its final name after writing it, and makes its folders when it is opened.

    Not earlier: a command with a wrong option builds the app too, and shall leave nothing.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for folder in (self.data_folder_in, self.data_folder_out, self.control_folder):
            Path(folder).mkdir(parents=True, exist_ok=True)

    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        file = Path(self.data_folder_out) / f"{round(time.monotonic() * 1000)}_{uuid4()}.{queue}.msg"
        unfinished = file.with_suffix(".unfinished")  # a name that no queue reads
        try:
            unfinished.write_text(filesystem.dumps(payload), encoding="utf-8")
            unfinished.replace(file)
        except OSError as error:
            raise ChannelError(f"cannot add file {str(file)!r}") from error


class Transport(filesystem.Transport):  # type: ignore[misc]
    """kombu's file transport with our channel."""

    Channel = Channel


def install() -> None:
    """Register this broker for `filesystem://`."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
