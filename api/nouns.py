"""The nouns of the API: the paths of each, and its routes, which are loaded at the first request for one of its paths.

A noun is a module with a `router`. With the schemas and services that only they need, all of them are a sixth of the
API's import, and most processes are asked for few of them soon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import chain
from threading import Lock
from typing import Final

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, Router

from paaplus.api import feedback, health, predictions
from paaplus.api.direct import Routes, direct_routes

# How the paths of each noun begin. Routes are tried, and the document lists them, in this order.
PATHS: Final[dict[str, tuple[str, ...]]] = {
    "health": ("/healthz", "/readyz", "/metrics"),
    "predictions": ("/v1/predictions",),
    "feedback": ("/v1/feedback",),
    "users": (
        "/v1/users",
        "/v1/users/{user}/export",
        "/v1/users/{user}/policy",
        "/v1/users/{user}/sharing",
    ),
    "events": ("/v1/users/{user}/events",),
    "images": ("/v1/images",),
    "maps": ("/v1/images",),
    "exposure": ("/v1/users/{user}/exposure-ratings", "/v1/users/{user}/exposure-rule"),
    "rankings": ("/v1/rankings",),
    "audiences": ("/v1/audiences",),
    "anchors": ("/v1/users/{user}/anchors", "/v1/users/{user}/consistency"),
    "adapters": (
        "/v1/users/{user}/adapters",
        "/v1/users/{user}/history",
        "/v1/users/{user}/metrics",
        "/v1/users/{user}/exclusions",
        "/v1/users/{user}/unpin",
        "/v1/users/{user}/rollback",
        "/v1/users/{user}/retrain",
    ),
    "bulk_rollback": ("/v1/adapters",),
    "jobs": ("/v1/jobs",),
    "base_models": ("/v1/base-models",),
    "keys": ("/v1/keys",),
    "audit": ("/v1/audit",),
    "experts": ("/v1/experts", "/v1/expert-agreement"),
    "quizzes": ("/v1/users/{user}/quiz", "/v1/users/{user}/suggestions"),
    "matches": ("/v1/users/{user}/match",),
    "surveys": ("/v1/surveys", "/v1/users/{user}/survey-answers"),
    "preferences": ("/v1/users/{user}/preference",),
    "tools": ("/v1/tools", "/v1/pseudo-labels"),
    "reviews": ("/v1/review-batches", "/v1/reviews"),
    "webhooks": ("/v1/webhooks",),
}

# The most frequent ones, and what a monitor asks for at once: loaded before the process serves.
AT_START: Final[dict[str, APIRouter]] = {
    "health": health.router,
    "predictions": predictions.router,
    "feedback": feedback.router,
}


def beginning(path: str) -> str:
    """How a path begins, as in `PATHS`: two words, or `/v1/users/{user}` and one more."""
    words = path.split("/", 5)
    if len(words) > 4 and words[1:3] == ["v1", "users"]:
        return f"/v1/users/{{user}}/{words[4]}"
    return "/".join(words[:3])


class Nouns:
    """Adds the routes of nouns to a router.

    `direct` has those that are called without a search. Lists of routes are replaced, not changed: requests that look
    for a route meanwhile are not disturbed.
    """

    def __init__(self, router: Router) -> None:
        self.direct: Routes = {}
        self._router = router
        self._routes: dict[str, list[BaseRoute]] = {}
        self._missing = {path: [name for name, own in PATHS.items() if path in own] for path in chain(*PATHS.values())}
        self._adding = Lock()

    async def load_for(self, path: str) -> None:
        """Load the nouns of a path, in a thread, so that other requests go on."""
        if (names := self._missing.get(beginning(path))) is not None:
            await run_in_threadpool(self.load, names)

    def load_all(self) -> None:
        if self._missing:
            self.load(PATHS)

    def load(self, names: Iterable[str]) -> None:
        """Import nouns and add their routes, unless they are there."""
        self.add({name: import_module(f"paaplus.api.{name}").router for name in names})

    def add(self, routers: Mapping[str, Router]) -> None:
        """Add the routes of nouns, unless they are there. They are not included: FastAPI would analyse them again."""
        with self._adding:
            known = {id(route) for routes in self._routes.values() for route in routes}
            others = [route for route in self._router.routes if id(route) not in known]
            self._routes |= {name: router.routes for name, router in routers.items()}
            ours = [route for name in PATHS for route in self._routes.get(name, ())]
            self._router.routes = [*others, *ours]
            self.direct |= direct_routes(ours)
            for path in [path for path, names in self._missing.items() if self._routes.keys() >= set(names)]:
                del self._missing[path]
