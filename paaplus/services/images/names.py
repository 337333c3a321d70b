"""Names of images, the applications' own ids of them, and finding images by either."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import ImageRow
from paaplus.errors import InvalidInput
from paaplus.texts import checked_id, checked_id_characters, clean_name, without_refused

NAME_MAX: Final = 512
EXTERNAL_ID_MAX: Final = 128


def file_name(name: str | None) -> str | None:
    """The name of an uploaded file: the last part of its path, without characters that no name needs."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return without_refused(last)[:NAME_MAX] or None


def path_name(path: str) -> str | None:
    """The name of a file that somebody's folder has: its relative path, without characters that no name needs.

    Of a path that is too long, the end is kept.
    """
    parts = [without_refused(part) for part in path.replace("\\", "/").split("/")]
    return "/".join(part for part in parts if part not in ("", ".", ".."))[-NAME_MAX:].lstrip("/") or None


def check_name(name: str) -> str:
    """The name that a caller chose for an image: one line, which may be a relative path with `/`.

    Raises:
        InvalidInput: it is empty or too long, begins with a slash, has an empty part, `.` or `..`, or a character that
            no name needs.
    """
    name = checked_id_characters(clean_name(name.replace("\\", "/"), NAME_MAX, "the name"), "the name")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise InvalidInput(f"the name {name!r:.200}: a relative path without empty parts, '.' and '..'")
    return name


def check_external_id(text: str) -> str:
    """The application's own id of an image, as it is.

    Raises:
        InvalidInput: see `texts.checked_id`; at most 128 characters.
    """
    return checked_id(text, EXTERNAL_ID_MAX, "external_id")


class ImageNames:
    """Finds the shared images of an application by platform's id, own id or name."""

    def __init__(self, session: Session, application: str) -> None:
        self._application = application
        self._named: dict[str, list[UUID]] = {}
        rows = session.execute(
            sa.select(ImageRow.id, ImageRow.name, ImageRow.external_id).where(
                ImageRow.application == application, ImageRow.owner_id.is_(None)
            )
        )
        for image_id, name, external_id in rows:
            for known in {str(image_id), name or str(image_id), external_id or str(image_id)}:
                self._named.setdefault(known, []).append(image_id)

    def one(self, name: str) -> UUID:
        """The image of a name.

        Raises:
            InvalidInput: no image has it, or several have; the message has their ids.
        """
        found = self._named.get(name, [])
        if not found:
            raise InvalidInput(f"no image named {name!r:.200} in application {self._application!r}")
        if len(found) > 1:
            ids = ", ".join(map(str, found[:5]))
            raise InvalidInput(
                f"{len(found)} images named {name!r:.200} in application {self._application!r}: {ids}; give the id"
            )
        return found[0]

    @property
    def names(self) -> dict[str, int]:
        """How many images have each name or id."""
        return {name: len(found) for name, found in self._named.items()}
