"""The doors: sign in with a key or a one-time link, choose whose pages to see, sign out."""

from __future__ import annotations

from starlette.responses import Response

from paaplus.errors import NotFound, Unauthenticated
from paaplus.services import names
from paaplus.services.images.filters import ImageFilter
from paaplus.services.images.images import list_images
from paaplus.services.users import keys, sessions, users
from paaplus.services.users.sessions import COOKIE
from paaplus.studio import tour
from paaplus.studio.calls import Call


def doors(call: Call) -> Response:
    """The first page: what one can do here. Without a session it asks for a key or a link."""
    if call.session is None:
        return call.page("doors.html", notice=None, people=[], can_tour=False)
    if call.session.principal.user_id is not None:
        return call.go(_first_page(call))
    with call.context.database.read_session() as session:
        rows = (
            users.list_users(session, call.principal, application=tour.APPLICATION, limit=10) if call.is_admin else []
        )
    people = [{"id": str(row.id), "name": row.external_id} for row in reversed(rows)]
    return call.page("doors.html", notice=None, people=people, can_tour=tour.is_possible())


def nowhere(call: Call) -> Response:
    """An address that is none: an old bookmark, or a slip of the pen."""
    raise NotFound(call.t("error.not_found"))


def enter_with_link(call: Call) -> Response:
    """Use a one-time link: the code is gone from the address afterwards."""
    code = call.request.query_params.get("code", "")
    address = _require_room(call, code)
    try:
        with call.context.database.session() as session:
            secret = sessions.use_link(session, code)
    except Unauthenticated:
        call.context.failures.count(address)
        raise
    return call.signed_in(call.go("/"), secret)


def enter_with_key(call: Call) -> Response:
    """Open a session with the access of an API key."""
    token = call.text("key", 200)
    address = _require_room(call, token)
    try:
        principal = call.context.keys.authenticate(token)
    except Unauthenticated:
        call.context.failures.count(address)
        raise Unauthenticated(call.t("doors.wrong_key")) from None
    assert principal.key_id is not None, "a key that was authenticated has a row"
    with call.context.database.session() as session:
        if call.secret:  # a new session, never the secret that was there before the sign-in
            sessions.close(session, call.secret)
        secret = sessions.open_for(session, principal.key_id)
    return call.signed_in(call.go("/"), secret)


def leave(call: Call) -> Response:
    """End the session."""
    with call.context.database.session() as session:
        sessions.close(session, str(call.secret))
    response = call.forget(call.go("/"))
    response.delete_cookie(COOKIE, path=call.base)
    return response


def rate_mine(call: Call) -> Response:
    """Open the pages of the person at this machine, who is made at the first use.

    It is the person of `paaplus rate` and `paaplus rank`: what is rated here counts there.
    """
    with call.context.database.session() as session:
        user, _ = users.create(session, application=names.HOME_APPLICATION, external_id=names.HOME_USER)
        session.flush()
        secret = sessions.act_as(session, str(call.secret), str(user.id))
        has_photos = bool(list_images(session, keys.of_user(user), ImageFilter(), limit=1))
    return call.signed_in(call.go("/rate" if has_photos else "/photos"), secret)


def act_as(call: Call) -> Response:
    """Open the pages of a user that the session may see."""
    with call.context.database.session() as session:
        secret = sessions.act_as(session, str(call.secret), call.text("user", 256))
    return call.signed_in(call.go("/order" if call.form.get("to") == "order" else "/rate"), secret)


def look_around(call: Call) -> Response:
    """Put the built-in photographs and three people into an application of their own, once."""
    tour.prepare(call.context, call.principal)
    return call.go("/#tour")


def _first_page(call: Call) -> str:
    if call.is_expert:
        return "/review"
    with call.context.database.read_session() as session:
        return "/rate" if list_images(session, call.person, ImageFilter(), limit=1) else "/photos"


def _require_room(call: Call, secret: str) -> str:
    """The caller's address, if it has not tried too many unknown secrets.

    Raises:
        TooMany: it has.
    """
    address = call.request.client.host if call.request.client is not None else ""
    call.context.failures.require_room(address, secret)
    return address
