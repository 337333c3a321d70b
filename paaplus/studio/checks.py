"""What is checked before a handler runs: who calls it, from which site, with which body and token."""

from __future__ import annotations

import hmac
from typing import Any, Final, Literal

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from paaplus.errors import Conflict, Forbidden, InvalidInput, TooLarge, Unauthenticated
from paaplus.services.users.sessions import BrowserSession
from paaplus.studio.texts import Texts
from paaplus.texts import parse_json

FORM_BYTES: Final = 64 * 2**10
MAX_FIELDS: Final = 2_200  # of the longest survey: 100 rankings of 20 options
UPLOAD_OVERHEAD_BYTES: Final = 16 * 2**10
TOKEN_HEADER: Final = "x-studio-token"
# "person": a user's own pages, whose user an admin may have chosen; "viewer": who sees images; "expert": an expert's
# key; "member": a person or an expert.
Needs = Literal["nothing", "session", "viewer", "person", "member", "expert", "admin"]


def check_needs(session: BrowserSession | None, needs: Needs, t: Texts) -> None:
    """Check that this session may call the handler. `t`: the texts of the visitor's language.

    Raises:
        Unauthenticated: there is no session.
        Forbidden: it is of another scope.
        Conflict: it has not chosen whose pages to show.
    """
    if needs == "nothing":
        return
    if session is None:
        raise Unauthenticated(t("error.signed_out"))
    scope = session.principal.scope
    is_expert = scope == "expert"
    if needs == "expert" and not is_expert:
        raise Forbidden(t("error.experts_only"))
    if needs in ("viewer", "person") and is_expert:  # as in the API: an expert's key reviews and answers surveys
        raise Forbidden(t("error.not_for_experts"))
    if needs in ("person", "member") and session.person is None:
        raise Conflict(t("error.no_person"))
    if needs == "admin" and scope != "admin":
        raise Forbidden(t("error.admins_only"))


def check_origin(request: Request) -> None:
    """Refuse a change that another site's page has asked for, also where there is no session to protect yet.

    The browser's own word counts where it is given: behind a proxy, `Host` may be another than the browser's.
    """
    site = request.headers.get("sec-fetch-site")
    if site in ("same-origin", "none"):
        return
    if site is not None:
        raise Forbidden("the request comes from another site")
    origin = request.headers.get("origin")
    if origin not in (None, "null") and origin.partition("://")[2] != request.headers.get("host"):
        raise Forbidden("the request comes from another site")


async def read_body(request: Request, max_file_bytes: int) -> tuple[dict[str, Any], UploadFile | None]:
    """The fields of a form or of a JSON object, and the file of an upload.

    Args:
        max_file_bytes: of the one file of an upload; 0: no file may be sent.

    Raises:
        InvalidInput: it is neither, names a field twice, or does not say how long it is.
        TooLarge: it is too long.
    """
    longest = max_file_bytes + UPLOAD_OVERHEAD_BYTES if max_file_bytes else FORM_BYTES
    announced = request.headers.get("content-length", "")
    if not announced.isascii() or not announced.isdigit():
        raise InvalidInput("the request does not say how long it is")
    if int(announced) > longest:
        raise TooLarge(f"{int(announced)} bytes; at most {longest} are accepted")
    if request.headers.get("content-type", "").startswith("application/json"):
        body = parse_json(await request.body(), "the body is no JSON")
        if not isinstance(body, dict):
            raise InvalidInput("the body is no JSON object")
        return body, None
    form: FormData = await request.form(max_files=1 if max_file_bytes else 0, max_fields=MAX_FIELDS)
    names = [name for name, _ in form.multi_items()]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        await form.close()
        raise InvalidInput(f"{doubled[0]!r:.80} is given {names.count(doubled[0])} times; once is needed")
    given = form.get("file")
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    return fields, given if isinstance(given, UploadFile) else None


def check_token(session: BrowserSession, given: Any, t: Texts) -> None:
    """Check that the change comes from a page of this session. `given`: the token that it brings.

    Raises:
        Forbidden: it brings no token, or another one.
    """
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), session.form_token.encode()):
        raise Forbidden(t("error.form_expired"))
