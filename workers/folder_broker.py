"""The embedded mode's broker: kombu's folder of messages, in which a message appears whole or not at all.

kombu writes a message where readers look for it. On a busy machine a worker then takes an empty file, and dies of it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem


class Channel(filesystem.Channel):  # type: ignore[misc]
    """A channel that gives a message its name when it is written."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        file = Path(self.data_folder_out) / f"{round(time.monotonic() * 1000)}_{uuid4()}.{queue}.msg"
        unfinished = file.with_suffix(".unfinished")  # no queue's
        try:
            unfinished.write_text(filesystem.dumps(payload), encoding="utf-8")
            unfinished.replace(file)
        except OSError as error:
            raise ChannelError(f"cannot add file {str(file)!r}") from error


class Transport(filesystem.Transport):  # type: ignore[misc]
    """kombu's, with our channel."""

    Channel = Channel


def install() -> None:
    """Make `filesystem://` mean this broker."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
