"""One request to the studio: who makes it, whether they may, and the answer to what goes wrong.

A handler is a function of a `Call`. It runs in a thread, as the services wait for the database.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, cast

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from paaplus.errors import (
    Conflict,
    InvalidInput,
    PaaplusError,
    TooMany,
    Unauthenticated,
)
from paaplus.services.users import sessions
from paaplus.services.users.keys import Principal
from paaplus.services.users.rate_limits import RateLimitKind
from paaplus.services.users.sessions import COOKIE, BrowserSession, SessionRing
from paaplus.studio import checks, pages, sentences, texts
from paaplus.studio.checks import Needs
from paaplus.studio.context import StudioContext
from paaplus.studio.texts import Texts

LANGUAGE_COOKIE: Final = "paaplus_language"
PREFIX: Final = "/studio"

log = structlog.get_logger(__name__)


@dataclass
class Call:
    """A request after the checks. `form`: the fields of a form, or of a JSON object. `secret`: of the session."""

    request: Request
    context: StudioContext
    t: Texts
    session: BrowserSession | None = None
    secret: str | None = None
    form: Mapping[str, Any] = field(default_factory=dict)
    file: UploadFile | None = None

    @property
    def principal(self) -> Principal:
        assert self.session is not None, "a handler that needs a session declares it"
        return self.session.principal

    @property
    def person(self) -> Principal:
        """The user whose pages are shown, as a principal that sees this user only."""
        assert self.session is not None, "a handler that needs a person declares it"
        assert self.session.person is not None, "a handler that needs a person declares it"
        return self.session.person

    @property
    def is_admin(self) -> bool:
        return self.session is not None and self.session.principal.scope == "admin"

    @property
    def is_expert(self) -> bool:
        return self.session is not None and self.session.principal.scope == "expert"

    @property
    def wants_page(self) -> bool:
        """Whether a person waits for the answer, and not a script."""
        return "text/html" in self.request.headers.get("accept", "")

    @property
    def is_https(self) -> bool:
        return self.request.url.scheme == "https"

    def text(self, name: str, longest: int = 1_000) -> str:
        """A field of the form.

        Raises:
            InvalidInput: it is missing, empty, no text or too long.
        """
        value = self.form.get(name)
        if not isinstance(value, str) or not value.strip():
            raise InvalidInput(f"{name} is missing")
        if len(value) > longest:
            raise InvalidInput(f"{name} has {len(value)} characters; at most {longest}")
        return value.strip()

    def spend(self, kind: RateLimitKind, amount: int = 1) -> None:
        """Spend the key's allowance, as a request to the API does.

        Raises:
            TooMany: the limit is reached.
        """
        self.context.allowances.spend(self.principal, kind, amount)

    @property
    def base(self) -> str:
        """Where the studio is on this host: `/studio`, behind the path prefix of a proxy if there is one."""
        return str(self.request.scope["root_path"])

    @property
    def path(self) -> str:
        """The path of this request within the studio."""
        return self.request.url.path.removeprefix(self.base)

    def url(self, path: str) -> str:
        """The address of a page of the studio on this host. Every address that the server writes is made here."""
        return self.base + path

    @property
    def origin(self) -> str:
        """Scheme and host as the browser knows them; a proxy may have changed the `Host` of the request."""
        given = self.request.headers.get("origin")
        if given not in (None, "null"):
            return str(given)
        return f"{self.request.url.scheme}://{self.request.url.netloc}"

    def go(self, path: str) -> Response:
        """Send the browser to another page of the studio, after a change."""
        return RedirectResponse(self.url(path), 303, headers=pages.PRIVATE)

    def signed_in(self, response: Response, secret: str) -> Response:
        """Give the browser the secret of its session, which no script can read and no other site's request brings."""
        response.set_cookie(
            COOKIE,
            secret,
            max_age=int(sessions.LONGEST.total_seconds()),
            path=self.base,
            httponly=True,
            samesite="lax",
            secure=self.is_https,
        )
        return response

    @staticmethod
    def forget(response: Response, *, everything: bool = False) -> Response:
        """Let the browser drop the pictures that it keeps; `everything`: also unsent answers and settings."""
        response.headers["Clear-Site-Data"] = '"cache", "storage"' if everything else '"cache"'
        return response

    def page(self, template: str, status_code: int = 200, **values: Any) -> Response:
        """A page with the studio's frame around it."""
        common = {
            "t": self.t,
            "session": self.session,
            "is_admin": self.is_admin,
            "is_expert": self.is_expert,
            "token": self.session.form_token if self.session else "",
            "base": self.base,
            "path": self.path,
            "languages": texts.LANGUAGES,
        }
        return pages.render(template, status_code, **common, **values)


Handler = Callable[[Call], Response]


def answer(data: Any, status_code: int = 200) -> Response:
    """An answer to a script."""
    return JSONResponse(data, status_code, headers=pages.PRIVATE)


def endpoint(
    handler: Handler, ring: SessionRing, *, path: str, needs: Needs, upload: bool = False
) -> Callable[[Request], Any]:
    """The handler with the checks before it, as Starlette calls it.

    Args:
        ring: the sessions that this application knows.
        path: template of the route, for metrics and log.
        needs: who may call it, see `checks`.
        upload: the body is a form with one file, `file`.
    """

    async def checked(request: Request) -> Response:
        context = cast(StudioContext, request.app.state.context)
        language = request.query_params.get("lang") or request.cookies.get(LANGUAGE_COOKIE)
        call = Call(request, context, Texts(texts.choose(language, request.headers.get("accept-language", ""))))
        request.scope["route"] = SimpleNamespace(path=PREFIX + path)  # what metrics and log call the request
        try:
            if request.method == "POST":
                checks.check_origin(request)
            call.secret = request.cookies.get(COOKIE)
            if call.secret:
                call.session = ring.cached(call.secret)
                if call.session is None:
                    await run_in_threadpool(_open, call, ring)
            if call.session is not None:
                structlog.contextvars.bind_contextvars(key_id=str(call.session.principal.key_id))
            checks.check_needs(call.session, needs, call.t)
            if call.session is not None and not context.allowances.spend_reserved(
                call.principal, RateLimitKind.REQUESTS
            ):
                await run_in_threadpool(call.spend, RateLimitKind.REQUESTS)
            if request.method == "POST":
                call.form, call.file = await checks.read_body(
                    request, context.settings.max_upload_bytes if upload else 0
                )
                if call.session is not None:
                    given = request.headers.get(checks.TOKEN_HEADER) or call.form.get("token")
                    checks.check_token(call.session, given, call.t)
            response = await run_in_threadpool(handler, call)
            if request.method == "POST":
                ring.forget()  # the handler may have changed the session, the key or the user
            await _rotate(call, response, ring)
        except PaaplusError as error:
            response = _refused(call, error, needs)
        except HTTPException as error:
            response = _refused(call, InvalidInput(str(error.detail)), needs)
        except Exception as error:
            if not call.wants_page:
                raise
            log.error("unexpected_error", error=type(error).__name__, exc_info=error)
            response = call.page("error.html", 500, message=call.t("error.internal_error"))
        finally:
            if call.file is not None:
                await call.file.close()
        if request.query_params.get("lang") in texts.LANGUAGES:
            response.set_cookie(
                LANGUAGE_COOKIE, request.query_params["lang"], max_age=31_536_000, path=call.base, samesite="lax"
            )
        return response

    return checked


def _open(call: Call, ring: SessionRing) -> None:
    """Read the session of the cookie; a cookie of a session that has ended is as none."""
    try:
        call.session = ring.read(call.context.database, str(call.secret))
        call.context.failures.remember(str(call.secret))
    except Unauthenticated:
        call.session = None


async def _rotate(call: Call, response: Response, ring: SessionRing) -> None:
    """Write down that the session was used, now and then; give the browser a new secret when the old one is stale."""
    if call.session is None or call.secret is None or "set-cookie" in response.headers:
        return
    rotate = call.session.is_stale and response.headers.get("content-type", "").startswith("text/html")
    if not rotate and not call.session.is_unnoted:
        return
    new = await run_in_threadpool(_touch, call, rotate)
    ring.forget()
    if new is not None:
        call.signed_in(response, new)


def _touch(call: Call, rotate: bool) -> str | None:
    try:
        with call.context.database.session() as session:
            return sessions.touch(session, str(call.secret), rotate=rotate)
    except Unauthenticated:  # the handler has ended the session
        return None


def _refused(call: Call, error: PaaplusError, needs: Needs) -> Response:
    """The answer to a request that failed: a page for a person, JSON for a script."""
    status_code = error.http_status
    if status_code == 500:
        raise error
    if status_code == 503:
        log.warning("unavailable", error=str(error))
    message = _told(call.t, error)
    if not call.wants_page:
        response = answer({"error": {"code": error.code, "message": message}}, status_code)
    elif status_code == 401:
        response = call.page("doors.html", 401, notice=message, people=[], can_tour=False)
    elif needs in ("person", "member") and isinstance(error, Conflict) and not _has_person(call):
        return call.go("/")
    else:
        response = call.page("error.html", status_code, message=message)
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return response


def _has_person(call: Call) -> bool:
    return call.session is not None and call.session.person is not None


def _told(t: Texts, error: PaaplusError) -> str:
    """What a person is told. The services speak English: in another language the kind of the error is said first.

    A service's sentence that has no text in the language is left out, and its kind is written to the log.
    """
    message = str(error)
    if t.language == texts.DEFAULT or not message.isascii():  # not ASCII: one of the studio's own texts
        return message
    kind = t(f"error.{error.code}")
    known = sentences.of_error(message, t.language)
    if known is None:
        log.info("untold_error", code=error.code)  # not the sentence: it may have names in it
        return kind
    return t("error.detail", kind=kind, message=known)
