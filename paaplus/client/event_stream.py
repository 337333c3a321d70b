"""Server-sent events: lines of `text/event-stream` as events."""

from __future__ import annotations

import json
from typing import Any

from paaplus.client.answers import UserEvent, read


class EventReader:
    """Reads a stream line by line. `last_id` is where a further stream goes on."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._lines: list[str] = []

    def take(self, line: str) -> UserEvent | None:
        """The event that this line ends, if it ends one."""
        if line:
            self._lines.append(line)
            return None
        lines, self._lines = self._lines, []
        data = [part for name, part in map(_field, lines) if name == "data"]
        if not data:
            return None
        event: dict[str, Any] = json.loads("\n".join(data))
        self.last_id = next((part for name, part in map(_field, lines) if name == "id"), self.last_id)
        return read(UserEvent, event)

    def start(self) -> dict[str, str]:
        """Headers of the next stream. A part of an event that a broken one left is forgotten."""
        self._lines = []
        return {"Accept": "text/event-stream"} | ({"Last-Event-ID": self.last_id} if self.last_id else {})


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")
