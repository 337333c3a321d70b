"""The broker of the embedded mode: kombu's folder of messages, with atomic writes, and readers that are told.

kombu writes a message in the place where workers read it. On a busy machine a worker reads an empty file and crashes.
And it looks into the folder again and again, also while nothing happens.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from queue import Empty
from typing import Any, Final
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem

from paaplus.queue.folder_watch import FolderWatch

LONGEST_WAIT_S: Final = 2.0  # between two looks into the folder


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
    """kombu's file transport with our channel. A reader sleeps until a message may have come."""

    Channel = Channel
    _folder: FolderWatch | None = None

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver a message.

        Raises:
            TimeoutError: none came in this time.
        """
        if self._folder is None:
            self._folder = FolderWatch(Path(self.client.transport_options["data_folder_in"]))
        ends_at = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                self.cycle.get(self._deliver, timeout=timeout)
                return
            except Empty:
                left_s = ends_at - time.monotonic()
                if left_s <= 0.0:
                    raise TimeoutError from None
                self._folder.wait(min(left_s, LONGEST_WAIT_S))

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        if self._folder is not None:
            self._folder.close()
            self._folder = None


def install() -> None:
    """Register this broker for `filesystem://`."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
