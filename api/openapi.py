"""The OpenAPI document, and the page that shows it with assets of an installed package instead of a CDN's."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.routing import iter_route_contexts
from starlette.staticfiles import StaticFiles

from paaplus.api.errors import PROBLEM
from paaplus.api.routing import Route
from paaplus.api.schemas.common import ErrorOut

DOCS: Final = "/docs"
ASSETS: Final = "/docs/assets"
IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "Chosen by the caller, one per act. For 24 hours, a repeated request under the same key gets the first answer "
        "and changes nothing more."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
}


def install(app: FastAPI) -> None:
    """Make the application serve `/docs`, its assets, and the document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    app.mount(ASSETS, StaticFiles(directory=str(files("fastapi_offline") / "static")), name="assets")

    async def docs(request: Request) -> HTMLResponse:
        prefix = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            openapi_url=f"{prefix}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{prefix}{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{prefix}{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{prefix}{ASSETS}/favicon.png",
        )

    app.add_route(DOCS, docs, include_in_schema=False)


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    schemas = document["components"]["schemas"]
    reference = {"$ref": f"#/components/schemas/{ErrorOut.__name__}"}
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if content.get("application/json", {}).get("schema") == reference:
                    response["content"] = {PROBLEM: content["application/json"]}
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, Route) and context.original_route.keeps_answers:
            for method in context.methods or ():
                operation = document["paths"][context.path][method.lower()]
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    assert not [name for name in schemas if "__" in name], "two schemas of one name: rename one of them"
    return document
