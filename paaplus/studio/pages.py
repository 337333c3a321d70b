"""Pages from templates, static files by the digest of their content, and the headers of both."""

from __future__ import annotations

import mimetypes
from functools import cache, partial
from importlib.resources import files
from types import SimpleNamespace
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from paaplus.errors import NotFound
from paaplus.ids import sha256_hex

# Scripts and styles are files of this package; nothing is inline and nothing comes from elsewhere.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
)
PRIVATE: Final = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
STATIC: Final = (
    "studio.css",
    "work.css",
    "common.js",
    "sending.js",
    "thumbnails.js",
    "rate.js",
    "doors.js",
    "review.js",
    "match.js",
    "survey.js",
    "order.js",
    "photos.js",
    "people.js",
    "watch.js",
    "icon.svg",
)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("paaplus.studio"),
        autoescape=True,  # every text is text, whoever typed it
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """A page. The values must have `t`, the texts of the visitor's language, and `base`, where the studio is."""
    text = _environment().get_template(template).render(static=partial(static_url, values["base"]), **values)
    return HTMLResponse(text, status_code, headers=PRIVATE)


@cache
def _static(name: str) -> tuple[bytes, str]:
    """A static file and the digest of its content."""
    if name not in STATIC:
        raise NotFound(f"no file {name!r}")
    data = files("paaplus.studio").joinpath("static", name).read_bytes()
    return data, sha256_hex(data)[:16]


def static_url(base: str, name: str) -> str:
    return f"{base}/static/{name}?v={_static(name)[1]}"


def static_file(request: Request) -> Response:
    """A script, a style or a picture of the studio; a browser keeps it until its content changes."""
    name = request.path_params["name"]
    request.scope["route"] = SimpleNamespace(path="/studio/static/{name}")  # what metrics and log call the request
    try:
        data, digest = _static(name)
    except NotFound:
        return Response("not found", 404, media_type="text/plain")
    headers = {"ETag": f'"{digest}"', "Cache-Control": "no-cache"}
    if request.query_params.get("v") == digest:
        headers["Cache-Control"] = "public, max-age=31536000, immutable"
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=mimetypes.guess_type(name)[0], headers=headers)
