"""What is known of photographs that were read before: one line of JSON for each, so that no file is read twice.

The file only grows. A line that was cut off when the process was killed is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self
from uuid import UUID

from paaplus.photos.folder import PhotoFile


@dataclass(frozen=True, slots=True)
class Known:
    """One file as it was read. `image_id` is the image that was stored, `refusal` why there is none.

    `content` is the digest of the file, `look` a digest of what it looks like (see `bursts.look_of`). `taken_at` is the
    camera's clock.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    content: str
    image_id: UUID | None = None
    refusal: str | None = None
    taken_at: datetime | None = None
    look: str = ""
    width_px: int = 0
    height_px: int = 0

    def is_of(self, file: PhotoFile) -> bool:
        """Whether the file is as it was."""
        return (self.size_bytes, self.mtime_ns) == (file.size_bytes, file.mtime_ns)

    def at(self, file: PhotoFile) -> Known:
        """The same content in another file."""
        return replace(self, path=str(file.path.absolute()), size_bytes=file.size_bytes, mtime_ns=file.mtime_ns)


class Catalogue:
    """The lines of one user, by path and by content; new ones are appended at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._by_path: dict[str, Known] = {}
        self._by_content: dict[str, Known] = {}
        self._stream: IO[bytes] | None = None
        if file.is_file():
            for line in file.read_bytes().split(b"\n"):
                if (known := _parsed(line)) is not None:
                    self._keep(known)

    def __enter__(self) -> Self:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._file.open("ab", buffering=0)
        self._stream.write(b"\n")  # ends a line that was cut off
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stream is not None
        self._stream.close()

    def of_file(self, file: PhotoFile) -> Known | None:
        """What is known of a file, if it has not changed since."""
        known = self._by_path.get(str(file.path.absolute()))
        return known if known is not None and known.is_of(file) else None

    def of_content(self, content: str) -> Known | None:
        """What is known of a file with this digest, wherever it was."""
        return self._by_content.get(content)

    def add(self, known: Known) -> None:
        """Append a line."""
        assert self._stream is not None, "the catalogue is not open"
        self._stream.write(json.dumps(asdict(known), default=str).encode() + b"\n")
        self._keep(known)

    def forget_images(self, existing: Iterable[UUID]) -> None:
        """Leave out the lines whose images are not in the database, for example after it was made anew."""
        alive = set(existing)
        for place in (self._by_path, self._by_content):
            for key in [
                key for key, known in place.items() if known.image_id is not None and known.image_id not in alive
            ]:
                del place[key]

    @property
    def image_ids(self) -> set[UUID]:
        return {known.image_id for known in self._by_path.values() if known.image_id is not None}

    def _keep(self, known: Known) -> None:
        self._by_path[known.path] = known
        self._by_content[known.content] = known


def _parsed(line: bytes) -> Known | None:
    try:
        values: dict[str, Any] = json.loads(line)
        values["image_id"] = UUID(values["image_id"]) if values["image_id"] else None
        values["taken_at"] = datetime.fromisoformat(values["taken_at"]) if values["taken_at"] else None
        return Known(**values)
    except (ValueError, TypeError, KeyError):
        return None
