"""My photos: a folder dropped into the browser, the built-in photographs."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from paaplus.errors import InvalidInput, TooLarge
from paaplus.services.images import images, uploads
from paaplus.services.images.filters import ImageFilter
from paaplus.services.images.names import path_name
from paaplus.services.users.rate_limits import RateLimitKind
from paaplus.studio import sentences, tour
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call, answer

SHOWN: Final = 400


def page(call: Call) -> Response:
    """The drop zone, and the photos that are here already."""
    with call.context.database.read_session() as session:
        rows = images.list_images(session, call.person, ImageFilter(), limit=SHOWN)
        states = images.feature_states(session, [row.id for row in rows], call.context.settings)
    shown = [
        {
            "id": str(row.id),
            "name": row.name or "",
            "width": row.width_px,
            "height": row.height_px,
            "state": states[row.id].state,
            "error": told(call, states[row.id].error),
        }
        for row in rows
    ]
    return call.page("photos.html", photos=shown, can_tour=tour.is_possible(), is_full=len(rows) == SHOWN)


def told(call: Call, error: str | None) -> str | None:
    """Why an image cannot be scored, in the visitor's language, where there is a text for it."""
    return sentences.of_error(error, call.t.language) if error else None


def upload(call: Call) -> Response:
    """Store one file; a script sends a folder file by file."""
    if call.file is None:
        raise InvalidInput("no file is in the request")
    longest = call.context.settings.max_upload_bytes
    if call.file.size is not None and call.file.size > longest:
        raise TooLarge(f"the file has {call.file.size} bytes; at most {longest} are accepted")
    call.spend(RateLimitKind.UPLOADS)
    name = call.form.get("name") or call.file.filename or ""
    added = uploads.add(
        call.context.database,
        call.context.blobs,
        call.context.settings,
        application=str(call.person.application),
        owner_id=person_of(call.person),
        data=call.file.file.read(),
        name=path_name(str(name)),
    )
    return answer({"id": str(added.row.id), "created": added.created, "name": added.row.name}, 201)


def add_builtin(call: Call) -> Response:
    """Add the built-in pictures to the person's own: the photographs now, the drawn scenes one by one meanwhile."""
    call.spend(RateLimitKind.UPLOADS, tour.NUM_PICTURES)
    tour.add_all(call.context, str(call.person.application), person_of(call.person), num_now=tour.NUM_PHOTOGRAPHS)
    return call.go("/rate")
