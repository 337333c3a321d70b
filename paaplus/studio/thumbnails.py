"""Thumbnails of photos: one by its address, or many in one answer, for pages that show hundreds.

Every request asks the database whether the session may see the images. A browser keeps what it was given for the cookie
that it was given for: after signing out, or as somebody else, it asks again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from paaplus.errors import Damaged, InvalidInput, NotFound
from paaplus.ids import sha256_hex
from paaplus.services.images import images, thumbnails
from paaplus.services.images.thumbnails import Thumbnail
from paaplus.studio.calls import Call

AT_ONCE: Final = 60  # thumbnails in one answer
MAKE_S: Final = 0.4  # an answer makes no further thumbnails after this time; the page asks for them again
KEPT: Final = {"Cache-Control": "private, max-age=604800, immutable", "Vary": "Cookie"}
NOT_KEPT: Final = {"Cache-Control": "no-store"}


def one(call: Call) -> Response:
    """A thumbnail of an image that the session may see."""
    size = size_of(call)
    try:
        image_id = UUID(call.request.path_params["image_id"])
    except ValueError as error:
        raise NotFound("no such image") from error
    with call.context.database.read_session() as session:
        row = images.get(session, call.principal, image_id)
    return not_modified_or(call, row, size)


def many(call: Call) -> Response:
    """Thumbnails of the images `ids`, as the files of a form, each named by its image.

    Images that the session may not see, or whose file is lost, are left out. Those for which there was no time are
    named in fields `later`.
    """
    size, ids = size_of(call), _ids(call.request.query_params.get("ids", ""))
    with call.context.database.read_session() as session:
        rows = images.get_many(session, call.principal, ids)
    shown = [rows[image_id] for image_id in ids if image_id in rows]
    tags = [f"{row.id} {thumbnails.version_tag(row, size, 'jpeg')}" for row in shown]
    headers = {"ETag": f'"{sha256_hex(" ".join(tags).encode())[:32]}"', **KEPT}
    if call.request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    found, later = _read(call, shown, size)
    if later or len(found) < len(ids):
        headers = NOT_KEPT
    boundary = secrets.token_hex(16)
    body = _form(boundary, found, later)
    return Response(body, media_type=f"multipart/form-data; boundary={boundary}", headers=headers)


def size_of(call: Call) -> int:
    """The size that a thumbnail is asked for in.

    Raises:
        NotFound: no such size.
    """
    try:
        return thumbnails.check_size(int(call.request.query_params.get("size", "512")))
    except ValueError as error:
        raise NotFound("no such size") from error


def not_modified_or(call: Call, row: Any, size: int) -> Response:
    """The thumbnail of an image. A browser keeps it; its tag changes with its content."""
    headers = {"ETag": f'"{thumbnails.version_tag(row, size, "jpeg")}"', **KEPT}
    if call.request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    found = thumbnails.get(call.context.database, call.context.blobs, call.context.settings, row, size)
    return Response(found.data, media_type=found.media_type, headers=headers)


def _read(call: Call, rows: Sequence[Any], size: int) -> tuple[dict[UUID, Thumbnail], list[UUID]]:
    """Thumbnails by image, and the images whose thumbnails were not made yet when the time was over."""
    found: dict[UUID, Thumbnail] = {}
    missing = []
    for row in rows:
        if (made := thumbnails.find(call.context.blobs, row, size)) is not None:
            found[row.id] = made
        else:
            missing.append(row)
    ends_at = time.monotonic() + MAKE_S
    for place, row in enumerate(missing):
        if place and time.monotonic() > ends_at:
            return found, [each.id for each in missing[place:]]
        try:
            found[row.id] = thumbnails.get(call.context.database, call.context.blobs, call.context.settings, row, size)
        except (NotFound, Damaged):  # deleted meanwhile, or its file is lost
            continue
    return found, []


def _form(boundary: str, found: dict[UUID, Thumbnail], later: Sequence[UUID]) -> bytes:
    """The body of a form (RFC 7578), which a browser's script reads without a parser of ours.

    Its field `num` says how many thumbnails there are: a form without any part is none (RFC 2046), and some browsers
    refuse it.
    """
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="num"\r\n\r\n{len(found)}\r\n'.encode()]
    for image_id, thumbnail in found.items():
        named = f'Content-Disposition: form-data; name="{image_id}"; filename="{image_id}"'
        parts.append(f"--{boundary}\r\n{named}\r\nContent-Type: {thumbnail.media_type}\r\n\r\n".encode())
        parts += [thumbnail.data, b"\r\n"]
    for image_id in later:
        named = 'Content-Disposition: form-data; name="later"'
        parts.append(f"--{boundary}\r\n{named}\r\n\r\n{image_id}\r\n".encode())
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def _ids(text: str) -> list[UUID]:
    """The ids of a list, each once.

    Raises:
        InvalidInput: it has none, too many, or what is no id.
    """
    try:
        ids = list(dict.fromkeys(UUID(each) for each in text.split(",", AT_ONCE + 1)))
    except ValueError as error:
        raise InvalidInput("ids: ids of images, with commas between them") from error
    if len(ids) > AT_ONCE:
        raise InvalidInput(f"{len(ids)} thumbnails at once; at most {AT_ONCE}")
    return ids
