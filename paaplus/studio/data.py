"""My data: what is stored about a person, to take along or to erase."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile

from starlette.responses import Response

from paaplus.errors import Forbidden, InvalidInput
from paaplus.services.images import images
from paaplus.services.images.filters import ImageFilter
from paaplus.services.operations import erasures, export
from paaplus.services.users import users
from paaplus.studio import pages
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call
from paaplus.studio.exports import EXPORT_MEMORY_BYTES
from paaplus.studio.order import MOST


def my_data(call: Call) -> Response:
    """What is stored about the person, to take along or to erase."""
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.person, str(person_of(call.person)))
        own = images.list_images(session, call.person, ImageFilter(owner_id=user.id), limit=MOST)
    return call.page(
        "data.html",
        name=user.external_id,
        may_erase=_may_erase(call),
        num_events=user.feedback_sequence,
        num_photos=len(own),
        is_full=len(own) == MOST,
    )


def export_data(call: Call) -> Response:
    """All data about the person as a zip file."""
    with SpooledTemporaryFile(max_size=EXPORT_MEMORY_BYTES) as file:
        export.write_zip(call.context.database, call.context.blobs, person_of(call.person), file)
        file.seek(0)
        data = file.read()
    headers = {**pages.PRIVATE, "Content-Disposition": 'attachment; filename="my-data.zip"'}
    return Response(data, media_type="application/zip", headers=headers)


def erase(call: Call) -> Response:
    """Erase the person, whose name was typed to confirm it. As in the API, a user's own key may not.

    Raises:
        Forbidden: the session is a user's.
    """
    if not _may_erase(call):
        raise Forbidden(call.t("data.ask_operator"))
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.person, str(person_of(call.person)))
    if call.text("name", 256) != user.external_id:
        raise InvalidInput(call.t("data.wrong_name"))
    with call.context.database.session() as session:
        erasures.erase(
            session,
            call.context.blobs,
            user.id,
            actor=call.person.actor,
            erasures_url=call.context.settings.resolved_erasures_url,
        )
    call.context.database.scrub()
    call.context.keys.forget()
    return call.forget(call.go("/"), everything=True)


def _may_erase(call: Call) -> bool:
    return call.principal.user_id is None
