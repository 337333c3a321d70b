"""A running application with one deployment in it, and a caller for each scope of key."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from paaplus import logs
from paaplus.api.app import create_app
from paaplus.api.dependencies import ApiContext
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, Base, BaseModelRow, UserRow
from paaplus.db.tables.governance import KeyScope
from paaplus.scoring.adapters import TasteVector
from paaplus.services.registry import base_models
from paaplus.services.users import keys
from paaplus.settings import Settings
from tests.support.factories import APPLICATION, make_adapter, make_features, make_image, make_user
from tests.support.saved_rows import SavedRows
from tests.support.tiny import FEATURE_DIM, TASTE_DIM, tiny_base

OTHER = "other-app"


class Caller:
    """Somebody with a key (or without one). `call` gives status and body."""

    def __init__(self, client: TestClient, token: str | None = None) -> None:
        self._client = client
        self.token = token
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def request(self, method: str, path: str, **options: Any) -> Any:
        headers = self.headers | options.pop("headers", {})
        return self._client.request(method, path, headers=headers, **options)

    def get(self, path: str, **query: Any) -> Any:
        return self.request("GET", path, params=query)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.request("POST", path, json=body, **options)

    def put(self, path: str, body: Any) -> Any:
        return self.request("PUT", path, json=body)

    def delete(self, path: str) -> Any:
        return self.request("DELETE", path)

    def upload(self, data: bytes, filename: str = "a.jpg", **form: str) -> Any:
        return self.request("POST", "/v1/images", files={"file": (filename, data, "image/jpeg")}, data=form)


@dataclass(frozen=True)
class Stock:
    """What every world begins with: the same ids and keys in each."""

    base_row: BaseModelRow
    users: tuple[UUID, UUID, UUID]
    images: tuple[UUID, ...]
    foreign_image: UUID
    tokens: dict[str, tuple[UUID, str]]
    """Id and token of each key."""


BASE = tiny_base()
FEATURES_ID = np.random.default_rng(5).normal(size=(3, FEATURE_DIM)).astype(np.float16)
_known: dict[str, tuple[Stock, SavedRows]] = {}  # by kind of database


def stock(context: ApiContext) -> Stock:
    """Put what a world begins with into the database: made by the services once, and copied since."""
    engine = context.database.engine
    if engine.dialect.name in _known:
        made, rows = _known[engine.dialect.name]
        context.blobs.put(BASE.to_bytes())
        rows.put(engine)
        return made
    made = _make_stock(context)
    tables = [table for table in Base.metadata.sorted_tables if table.name != "secrets"]  # an API has one when it runs
    _known[engine.dialect.name] = made, SavedRows.of(engine, tables)
    return made


def _make_stock(context: ApiContext) -> Stock:
    with context.database.session() as session:
        base_row = base_models.register(session, context.blobs, BASE, {"extractor": "none"}, {})
        ada = make_user(session, external_id="ada").id
        bob = make_user(session, external_id="bob").id
        eve = make_user(session, external_id="eve", application=OTHER).id
        images = tuple(make_image(session).id for _ in range(3))
        foreign_image = make_image(session, application=OTHER).id
        for image_id, features_D in zip(images[:2], FEATURES_ID, strict=False):
            make_features(session, image_id=image_id, extractor_digest=BASE.extractor_digest, data=features_D.tobytes())
        tokens = {
            "admin": keys.create(session, name="a", scope=KeyScope.ADMIN, actor="test"),
            "application": keys.create(
                session, name="p", scope=KeyScope.APPLICATION, application=APPLICATION, actor="test"
            ),
            "other": keys.create(session, name="o", scope=KeyScope.APPLICATION, application=OTHER, actor="test"),
            "user": keys.create(session, name="u", scope=KeyScope.USER, user_id=ada, actor="test"),
            "expert": keys.create(session, name="e", scope=KeyScope.EXPERT, user_id=ada, actor="test"),
        }
    opened = {name: (created.row.id, created.token) for name, created in tokens.items()}
    return Stock(base_row, (ada, bob, eve), images, foreign_image, opened)


class World:
    """Two applications with two users and three shared images each, one base model, features for all but the last."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.app: FastAPI = client.app  # type: ignore[assignment]
        self.context: ApiContext = self.app.state.context
        self.database: Database = self.context.database
        self.base, self.features_ID = BASE, FEATURES_ID
        made = stock(self.context)
        self.base_row, self.images, self.foreign_image = made.base_row, list(made.images), made.foreign_image
        self.ada, self.bob, self.eve = made.users
        self.keys = {name: key_id for name, (key_id, _) in made.tokens.items()}
        self.callers = {name: Caller(client, token) for name, (_, token) in made.tokens.items()}
        self.admin, self.application = self.callers["admin"], self.callers["application"]
        self.other, self.user = self.callers["other"], self.callers["user"]
        self.nobody = Caller(client)

    def rating(self, event_id: str = "e1", *, image: int = 0, value: float = 6, **changes: Any) -> dict[str, Any]:
        return {
            "event_id": event_id,
            "user": "ada",
            "kind": "rating",
            "image": str(self.images[image]),
            "ratings": {"beauty": value},
            "scale": {"min": 1, "max": 7},
        } | changes

    def adapter(self, user_id: UUID, *, seed: int = 0, **columns: Any) -> AdapterRow:
        """A version of the user's adapter, live unless `state` says otherwise."""
        rng = np.random.default_rng(seed)
        adapter = TasteVector(
            self.base.digest,
            np.ones(1, np.float32),
            np.zeros(1, np.float32),
            rng.normal(size=(TASTE_DIM, 1)).astype(np.float32),
        )
        with self.database.session() as session:
            user = session.get(UserRow, user_id)
            assert user is not None
            return make_adapter(
                session,
                user,
                base_model_id=self.base_row.id,
                data=adapter.to_bytes(),
                digest=adapter.digest,
                **columns,
            )


@functools.cache
def built_app() -> FastAPI:
    """One application for all tests of a process: FastAPI works out the routes of each one anew, in half a second."""
    return create_app(Settings())


def app_with(settings: Settings) -> FastAPI:
    """The application, to be started with these settings. Not for two that run at once, nor for other origins."""
    app = built_app()
    logs.configure(settings.log_level)
    app.state.settings = settings
    return app


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """The application, started: doors open, nothing in the database."""
    with TestClient(app_with(settings)) as client:
        yield client


@pytest.fixture
def world(client: TestClient) -> World:
    return World(client)


def jpeg(shade: int = 0, size: tuple[int, int] = (32, 24)) -> bytes:
    """A small photograph; another shade is another one (in steps of 20)."""
    buffer = BytesIO()
    Image.new("RGB", size, (shade, 100, 100)).save(buffer, "JPEG")
    return buffer.getvalue()
