"""The checks of every request, in an order that keeps wrong requests cheap.

First the key, from the headers alone; then size, type and encoding of the body; then names that are unknown or that
occur twice, in query, form and JSON. Nothing is resolved silently: what is refused is named.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from email.message import Message as Header
from threading import RLock
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, params
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from paaplus.api import bodies, forms
from paaplus.api.dependencies import ApiContext, CarriedOut, OpensTo, OpenToAll, get_once, get_session
from paaplus.api.schemas.common import ErrorOut
from paaplus.db.tables.governance import KeyScope
from paaplus.services import idempotency
from paaplus.services.idempotency import Once
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings

BODY_BYTES: Final = 2**20
BATCH_BODY_BYTES: Final = 8 * 2**20  # of an application's batch: 1,000 events with all fields
MULTIPART_OVERHEAD_BYTES: Final = 16 * 2**10
UPLOAD: Final = "/v1/images"
FEEDBACK: Final = "/v1/feedback"
BATCHES: Final = frozenset(
    {
        "/v1/feedback",
        "/v1/predictions",
        "/v1/rankings",
        "/v1/audiences",
        "/v1/pseudo-labels",
        "/v1/pseudo-labels/precomputed",
        "/v1/review-batches",
    }
)
SECRET_ANSWERS: Final = frozenset({"keys", "webhooks"})  # tags of routes whose answers contain secrets
CHANGES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})

ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorOut, "description": description}
    for status, description in {
        400: "The request is wrong.",
        401: "The key is missing, unknown or revoked.",
        403: "The key may not do this.",
        404: "It does not exist, or the key may not see it.",
        409: "The request contradicts what is stored.",
        413: "The request is too large.",
        415: "The content type or the encoding of the body is not accepted.",
        422: "The request does not fit its schema.",
        429: "The rate limit of the key or of the user is reached; `Retry-After` says when to try again.",
        503: "The database or the storage does not answer; try again.",
    }.items()
}

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


_NO_TURN: Final = nullcontext()  # of a request that changes no user
_analysis: Final = RLock()


class Route(APIRoute):
    """A route with these checks, which is analysed when it is first called or described.

    FastAPI analyses a route where it is declared: parameters, dependencies, schemas. For all routes of the API that is
    a sixth of a start, and a process uses few of them soon. Until then a route knows what a search for it needs. The
    other attributes appear when one of them is asked for.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.path, self.endpoint, self.name = path, endpoint, options["name"] or endpoint.__name__
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.methods = set(options["methods"])
        self.include_in_schema = options["include_in_schema"]
        options["generate_unique_id_function"] = _name  # what generated clients call it
        self._unanalysed: dict[str, Any] | None = options

    def __getattr__(self, name: str) -> Any:
        with _analysis:
            options = self.__dict__.get("_unanalysed")
            if options is not None:
                self._unanalysed = None
                super().__init__(self.path, self.endpoint, **options)
        if name not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}", name=name, obj=self)
        return self.__dict__[name]

    @property
    def keeps_answers(self) -> bool:
        """Whether a repeated request under the same idempotency key gets the first answer."""
        return any(part.call in (get_session, get_once) for part in _flat(self.dependant))

    def get_route_handler(self) -> Handler:
        handle = self._direct(super().get_route_handler())
        shape = _Shape.of(self)

        async def checked(request: Request) -> Response:
            context: ApiContext = request.app.state.context
            principal = await _principal(request, context, shape)
            limit = body_limit(self.path, principal, context.settings)
            if (announced := bodies.announced_bytes(request)) is not None and announced > limit:
                raise bodies.too_large(limit)
            request = Request(request.scope, bodies.limited(request.receive, limit), request._send)
            await _check_form_of_request(request, shape, max_values(context.settings))
            once = await _once(request, shape, principal)
            request.state.once = once
            changed = _changed_users(request, shape, principal)
            try:
                async with context.turns.take(changed) if changed else _NO_TURN:
                    response = await handle(request)
                    if once is not None:
                        await _finish(request, shape, once, response)
            except CarriedOut as done:
                return done.response
            return response

        self.checked: Handler = checked
        return checked

    def _direct(self, handle: Handler) -> Handler:
        """The handler that runs after the checks."""
        return handle


class DirectRoute(Route):
    """A route whose function takes `body`, `key` and `context`, and answers with a `Response`; or any without `body`.

    FastAPI's general way from a request to a function costs as much as a small answer. It is taken only where the body
    does not fit its model, so that errors are the same as everywhere, and for functions without `body`.
    `DirectMiddleware` calls the former without a search for the route.
    """

    @property
    def takes_body(self) -> bool:
        """Whether its function takes `body`."""
        return "body" in self.endpoint.__annotations__

    def _direct(self, handle: Handler) -> Handler:
        if not self.takes_body:
            return handle
        model: TypeAdapter[Any] = TypeAdapter(typing.get_type_hints(self.endpoint, include_extras=True)["body"])
        validate = model.validator.validate_python

        async def direct(request: Request) -> Response:
            try:
                body = validate(getattr(request, "_json", None))
            except ValidationError:
                async with _framework_stacks(request):
                    return await handle(request)
            answer: Response = await self.endpoint(
                body=body, key=request.state.principal, context=request.app.state.context
            )
            return answer

        return direct


def router_of(prefix: str, tag: str, route_class: type[Route] = Route) -> APIRouter:
    """A router of one noun. Its routes may answer with any of `ERRORS`.

    Args:
        prefix: of the paths.
        tag: under which the OpenAPI document lists the routes.
    """
    return APIRouter(prefix=prefix, tags=[tag], responses=ERRORS, route_class=route_class)


@asynccontextmanager
async def _framework_stacks(request: Request) -> AsyncIterator[None]:
    """What FastAPI's handler needs around it, if a route was called without FastAPI's own middleware."""
    if "fastapi_inner_astack" in request.scope:
        yield
        return
    async with AsyncExitStack() as stack:
        names = ("fastapi_middleware_astack", "fastapi_inner_astack", "fastapi_function_astack")
        request.scope.update(dict.fromkeys(names, stack))
        yield


def body_limit(path: str, principal: Principal | None, settings: Settings) -> int:
    """Bytes of a body that a caller may send to a route.

    Args:
        path: the route's template, which has no prefix of a proxy.
    """
    if path == UPLOAD:
        return settings.max_upload_bytes + MULTIPART_OVERHEAD_BYTES
    is_application = principal is not None and principal.scope in (KeyScope.APPLICATION, KeyScope.ADMIN)
    return BATCH_BODY_BYTES if path in BATCHES and is_application else BODY_BYTES


def max_values(settings: Settings) -> int:
    """Values of a JSON document: those of the largest call that the settings allow, and some more."""
    return max(bodies.MAX_VALUES, 60 * settings.max_feedback_events, 8 * settings.max_prediction_items)


@dataclass(frozen=True)
class _Shape:
    """What a route takes.

    `query`: names of parameters, and whether each may be repeated. `form`: names of fields; None: no form.
    """

    key: OpensTo | OpenToAll
    query: dict[str, bool]
    form: frozenset[str] | None
    takes_json: bool
    has_secret: bool
    changes: bool

    @classmethod
    def of(cls, route: APIRoute) -> _Shape:
        parts = list(_flat(route.dependant))
        fields = [field for part in parts for field in part.body_params]
        is_form = any(isinstance(field.field_info, params.Form) for field in fields)
        [key] = [part.call for part in parts if isinstance(part.call, OpensTo | OpenToAll)]
        return cls(
            key=key,
            query={
                field.alias: typing.get_origin(field.field_info.annotation) in (list, set, tuple)
                for part in parts
                for field in part.query_params
            },
            form=frozenset(field.alias for field in fields) if is_form else None,
            takes_json=bool(fields) and not is_form,
            has_secret=not SECRET_ANSWERS.isdisjoint(route.tags),
            changes=bool((route.methods or set()) & CHANGES),
        )


def _name(route: APIRoute) -> str:
    return route.name


def _flat(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for part in dependant.dependencies:
        yield from _flat(part)


async def _principal(request: Request, context: ApiContext, shape: _Shape) -> Principal | None:
    if isinstance(shape.key, OpenToAll):
        return None
    principal = await shape.key.check(context, request)
    request.state.principal = principal
    return principal


async def _check_form_of_request(request: Request, shape: _Shape, most_values: int) -> None:
    """Check query and body for names that are unknown or occur twice, and read the body."""
    for place, encoded in (("path", request.scope.get("raw_path") or b""), ("query", request.scope["query_string"])):
        if b"%" in encoded:
            _require_utf8(place, encoded)
    if request.scope["query_string"] and not isinstance(shape.key, OpenToAll):  # monitors add parameters of their own
        query = request.query_params.multi_items()
        _check_names("query", (name for name, _ in query), shape.query)
        _refuse_empty("query", query)
    if not bodies.has_body(request):
        return
    if shape.form is None and not shape.takes_json:
        return
    if (encoding := _only(request, "Content-Encoding", "identity").strip().lower()) != "identity":
        raise HTTPException(415, f"content encoding {encoding!r} is not accepted: send the body as it is")
    wanted = "multipart/form-data" if shape.form is not None else "application/json"
    found = _media_type(request)
    if not (found == wanted or (shape.takes_json and found.startswith("application/") and found.endswith("+json"))):
        problem = f"content type {found!r} is not accepted here" if found else "the request has no content type"
        raise HTTPException(415, f"{problem}: send {wanted}")
    if shape.form is None:
        _require_utf8_json(request)
        await bodies.read_json(request, most_values)
        return
    await forms.read_form(request)
    form = await request.form()
    try:
        _check_names("body", (name for name, _ in form.multi_items()), dict.fromkeys(shape.form, False))
        _refuse_empty("body", form.multi_items())
    except RequestValidationError:
        await form.close()  # of its files
        raise


def _require_utf8(place: str, encoded: bytes) -> None:
    """What is no UTF-8 would be read as U+FFFD, and looked for."""
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError as error:
        message = f"is not UTF-8: byte {error.start + 1} is {error.object[error.start]:#04x}"
        raise RequestValidationError([{"type": "no_utf8", "loc": (place,), "msg": message}]) from None


def _only(request: Request, name: str, default: str) -> str:
    """A header that says what the body is: of two, either could be meant."""
    given = request.headers.getlist(name)
    if len(given) > 1:
        raise _invalid("header", name, "doubled_name", f"is given {len(given)} times; once is needed")
    return given[0] if given else default


def _media_type(request: Request) -> str:
    given = _only(request, "Content-Type", "")
    if not given or given == "application/json":
        return given
    header = Header()
    header["content-type"] = given
    return header.get_content_type() if "/" in given else given.strip().lower()


def _require_utf8_json(request: Request) -> None:
    given = request.headers.get("content-type", "")
    if ";" not in given:
        return
    header = Header()
    header["content-type"] = given
    if (charset := header.get_content_charset("utf-8")) not in ("utf-8", "utf8", "us-ascii"):
        raise HTTPException(415, f"charset {charset!r:.40} is not accepted: JSON is sent in UTF-8")


def _check_names(place: str, given: Iterable[str], known: dict[str, bool]) -> None:
    """Refuse unknown names, and names that occur twice unless `known` says that they may be repeated."""
    for name, count in Counter(given).items():
        if name not in known:
            choice = ", ".join(map(repr, sorted(known))) or "none"
            raise _invalid(place, name, "unknown_name", f"is not known here; known: {choice}")
        if count > 1 and not known[name]:
            raise _invalid(place, name, "doubled_name", f"is given {count} times; once is needed")


def _refuse_empty(place: str, given: Iterable[tuple[str, str | UploadFile]]) -> None:
    for name, value in given:
        if not isinstance(value, UploadFile) and not value.strip():
            raise _invalid(place, name, "empty_value", "is empty: leave it out, or give a value")


def _invalid(place: str, name: str, kind: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": (place, name[:128]), "msg": message}])


async def _once(request: Request, shape: _Shape, principal: Principal | None) -> Once | None:
    """The request's idempotency key with its content; None: it has none, or changes nothing.

    A form is not covered: an upload is repeatable by its content.
    """
    given = request.headers.getlist("idempotency-key")
    if not given or principal is None or not shape.changes or shape.form is not None:
        return None
    if len(given) > 1:
        raise _invalid("header", "Idempotency-Key", "doubled_name", f"is given {len(given)} times; once is needed")
    url = request.url
    target = f"{request.method} {url.path}?{url.query}".encode()
    return Once.of(principal.actor, given[0], target, await request.body())


async def _finish(request: Request, shape: _Shape, once: Once, response: Response) -> None:
    """Store the answer in the transaction of the act, which is committed after the handler."""
    session = getattr(request.state, "write_session", None)
    if session is not None:
        body = None if shape.has_secret else bytes(response.body)
        await run_in_threadpool(idempotency.finish, session, once, response.status_code, body)


def _changed_users(request: Request, shape: _Shape, principal: Principal | None) -> set[str]:
    """The users that the request changes, as it names them: that of its path, or those of its events."""
    if not shape.changes or principal is None:
        return set()
    prefix = f"{principal.application or ''} "
    if (user := request.path_params.get("user")) is not None:
        return {f"{prefix}{user}"}
    body = getattr(request, "_json", None)
    if not isinstance(body, dict) or request.scope["route"].path != FEEDBACK:
        return set()
    events = body.get("events", [body])
    named = (event.get("user") for event in events if isinstance(event, dict)) if isinstance(events, list) else ()
    return {f"{prefix}{user}" for user in named if isinstance(user, str)}
