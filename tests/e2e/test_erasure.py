"""Canaries planted wherever a user's words can get to are found nowhere after their erasure, nor after a restore."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from uuid import UUID

import pytest
import sqlalchemy as sa
from PIL import Image
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.db.engine import Database
from paaplus.db.tables import Base, ImageRow
from paaplus.db.tables.governance import KeyScope
from paaplus.pipelines import extract_features
from paaplus.services.operations import erasures
from paaplus.services.operations.backup import NOT_SAVED
from paaplus.services.users import keys
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.e2e.test_api_process import Api
from tests.support.acts import FlatExtractor
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION
from tests.support.processes import running, wait_until
from tests.support.servers import GivenServer, PostgresServer, new_postgres_database

CANARY = "canary7f3a1c"


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings, num_images=60)


@pytest.fixture
def other_database(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty migrated database on the same kind of server, to restore into."""
    if database_kind == "sqlite":
        path = tmp_path / "restored" / "paaplus.db"
        path.parent.mkdir()
        path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        database = Database(f"sqlite:///{path}")
        yield database
        database.dispose()
    else:
        server, template = request.getfixturevalue("postgres_server"), request.getfixturevalue("postgres_template")
        with new_postgres_database(server.url, template=template) as url:
            database = Database(url)
            yield database
            database.dispose()


def picture() -> bytes:
    """A JPEG with the canary in its metadata."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = CANARY  # ImageDescription
    Image.effect_noise((64, 48), 80).convert("RGB").save(file, "JPEG", exif=exif, comment=CANARY)
    return file.getvalue()


def live(client: TestClient, deployment: Deployment, admin: str, application: str) -> str:
    """What a user and their application do, with the canary in everything that they word; returns the user's id."""

    def ask(method: str, path: str, key: str = application, **options: Any) -> Any:
        return client.request(method, path, headers={"Authorization": f"Bearer {key}"}, **options)

    user = ask("POST", "/v1/users", json={"external_id": CANARY}).json()["id"]
    files, form = {"file": (f"{CANARY}.jpg", picture(), "image/jpeg")}, {"user": CANARY}
    own = ask("POST", "/v1/images", files=files, data=form).json()["id"]
    deployment.images[0] = UUID(own)
    events = [
        {
            "event_id": f"{CANARY}-{i}",
            "user": CANARY,
            "kind": "rating",
            "image": str(image),
            "ratings": {"beauty": deployment.opinion(i)},
            "scale": {"min": 0, "max": 10},
        }
        for i, image in enumerate(deployment.images[:40])
    ]
    assert ask("POST", "/v1/feedback", json={"events": events}).json()["accepted"] == 40
    deployment.work()
    deployment.work()  # the first one waited for the features of the new picture
    body = {"users": [CANARY], "images": [str(image) for image in deployment.images[:40]]}
    receipt = ask("POST", "/v1/predictions", json=body).json()["items"][0]["receipt_id"]
    correction = {"event_id": f"{CANARY}-c", "user": CANARY, "kind": "correction", "receipt": receipt}
    rated = {"ratings": {"beauty": 3}, "scale": {"min": 0, "max": 10}}
    assert ask("POST", "/v1/feedback", json=correction | rated).status_code == 201
    quiz = ask("POST", f"/v1/users/{user}/quiz").json()
    answer = {"position": quiz["pair"]["position"], "preference": "first", "event_id": f"{CANARY}-q"}
    assert ask("POST", f"/v1/users/{user}/quiz/answers", json=answer).status_code == 200
    assert ask("POST", f"/v1/users/{user}/match").status_code == 200
    expert = {"name": f"Dr. {CANARY}", "domain": CANARY}
    assert ask("PUT", f"/v1/experts/{user}", json=expert).status_code == 201
    reason = {"reason": f"{CANARY} complained", "to": 0}
    assert ask("POST", f"/v1/users/{user}/rollback", admin, json=reason).status_code == 200
    assert ask("POST", f"/v1/users/{user}/retrain", admin, json={"reason": CANARY}).status_code == 202
    made = ask("POST", "/v1/keys", admin, json={"name": CANARY, "scope": "user", "user": user})
    assert made.status_code == 201, made.text
    # what goes wrong is logged too
    assert ask("GET", f"/v1/users/{CANARY}-nobody").status_code == 404
    assert ask("POST", "/v1/feedback", json={"event_id": CANARY, "user": CANARY, "kind": CANARY}).status_code == 422
    assert ask("POST", "/v1/feedback", json={"events": [{"event_id": CANARY, "user": CANARY}]}).status_code == 200
    assert ask("POST", "/v1/users", json={"external_id": f"a/{CANARY}"}).status_code in (400, 422)
    return str(user)


def found_in_files(folder: Path, *needles: bytes) -> list[str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [str(file.relative_to(folder)) for file in files if any(n in file.read_bytes() for n in needles)]


def found_in_rows(database: Database) -> list[str]:
    with database.read_session() as session:
        return [
            table.name
            for table in Base.metadata.sorted_tables
            if any(CANARY in repr(tuple(row)) for row in session.execute(sa.select(table)))
        ]


def found_in_postgres(database: Database, server: PostgresServer | GivenServer) -> list[str]:
    """In the files of all tables and catalogs, once they have been rewritten and those before are gone."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("vacuum (full, analyze)"))
        connection.execute(sa.text("checkpoint"))
        oid = connection.execute(sa.text("select oid from pg_database where datname = current_database()")).scalar_one()
    if isinstance(server, GivenServer):
        return []  # its files are out of reach
    folder = server.folder / "data" / "base" / str(oid)
    assert len(list(folder.iterdir())) > len(Base.metadata.tables)
    return found_in_files(folder, CANARY.encode())


def copy_rows(source: Database, target: Database) -> None:
    """A backup and its restore, in one."""
    with source.read_session() as reading, target.session() as writing:
        for table in Base.metadata.sorted_tables:
            if table.name in NOT_SAVED:
                continue
            rows = [dict(row) for row in reading.execute(sa.select(table)).mappings()]
            if rows:
                writing.execute(sa.delete(table))
                writing.execute(sa.insert(table), sorted(rows, key=lambda row: str(row.get("id"))))


def test_canaries_are_found_nowhere_after_an_erasure_nor_after_a_restore(
    deployment: Deployment,
    other_database: Database,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(extract_features, "cached_extractor", lambda *_: FlatExtractor())
    settings = deployment.settings
    with deployment.database.session() as session:
        admin = keys.create(session, name="admin", scope=KeyScope.ADMIN, actor="test").token
        application = keys.create(
            session, name="app", scope=KeyScope.APPLICATION, application=APPLICATION, actor="test"
        ).token
    folder = tmp_path / "home"
    api = Api(deployment)  # a process of its own, which holds the database open and writes a log
    with running(api.service):
        wait_until("the API is ready", api.is_ready)
        with TestClient(create_app(settings)) as client:
            user = live(client, deployment, admin, application)
        api.get(f"/v1/users/{CANARY}")
        with pytest.raises(HTTPError, match="422"):  # an unknown parameter is refused
            api.get(f"/v1/users/{CANARY}?x={CANARY}")
        with deployment.database.read_session() as session:
            sha256 = session.execute(sa.select(ImageRow.sha256).where(ImageRow.owner_id.is_not(None))).scalar_one()
        pixels = deployment.blobs.get(sha256)[400:448]
        assert {"users", "images", "feedback", "adapter_history"} <= set(found_in_rows(deployment.database))
        copy_rows(deployment.database, other_database)
        backup = BlobStore((tmp_path / "backup-blobs").as_uri())
        backup.put(deployment.blobs.get(sha256))

        api.delete(f"/v1/users/{user}")

        assert found_in_rows(deployment.database) == []
        assert found_in_files(folder, CANARY.encode(), pixels) == []
        if deployment.database.engine.dialect.name == "sqlite":
            files = list(Path(deployment.database.engine.url.database or "").parent.glob("paaplus.db*"))
            assert files
            assert [file.name for file in files if CANARY.encode() in file.read_bytes()] == []
        else:
            assert found_in_postgres(deployment.database, request.getfixturevalue("postgres_server")) == []
        assert CANARY not in api.metrics()
        assert CANARY not in caplog.text

    assert found_in_rows(other_database) != []
    replayed = erasures.replay(other_database, backup, settings.resolved_erasures_url, actor="restore")
    assert [str(user_id) for user_id in replayed] == [user]
    assert found_in_rows(other_database) == []
    assert found_in_files(tmp_path / "backup-blobs", pixels) == []
    if other_database.engine.dialect.name == "sqlite":
        other_database.dispose()
        assert found_in_files(tmp_path / "restored", CANARY.encode()) == []
