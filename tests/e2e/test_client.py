"""The tour with `paaplus.client`, against real processes: plain on SQLite, asyncio on PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis

from paaplus import signatures
from paaplus.client import AsyncClient, Client, Image, RequestFailed, Retries
from paaplus.db.engine import Database
from paaplus.db.tables.governance import KeyScope
from paaplus.services.users import keys
from paaplus.settings import Settings
from tests.api.conftest import jpeg
from tests.e2e.test_api_process import Api
from tests.support.deployment import SCALE, Deployment
from tests.support.factories import make_features
from tests.support.processes import running, start_scheduler, start_worker, wait_until
from tests.support.receivers import Receiver, receiving

NAMES = ("a.jpg", "b.jpg", "below/c.jpg")


@pytest.fixture
def settings(settings: Settings, database_kind: str, request: pytest.FixtureRequest) -> Settings:
    quick = settings.model_copy(update={"scan_interval_s": 0.3, "device": "cpu"})
    if database_kind == "sqlite":
        return quick
    url = request.getfixturevalue("redis_server").url
    redis.Redis.from_url(url).flushall()
    return quick.model_copy(update={"broker_url": url})


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("PAAPLUS_WEBHOOK_ALLOW_PRIVATE", "1")
    with receiving() as receiver:
        yield receiver


class Sync:
    """A plain client behind the asyncio client's interface, so that both take one tour."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name in ("users", "images", "webhooks"):

            async def iterate() -> Any:
                for item in method():
                    yield item

            return iterate

        async def call(*arguments: Any, **options: Any) -> Any:
            return await asyncio.to_thread(method, *arguments, **options)

        return call


def folder_of_pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(jpeg(shade=20 * number + 20))
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_bytes(b"hidden")
    return folder


def give_features(deployment: Deployment, images: list[Image]) -> None:
    """What a worker with a real extractor would do."""
    with deployment.database.session() as session:
        for image, features_D in zip(images, deployment.features_ID, strict=False):
            make_features(
                session,
                image_id=UUID(image.id),
                extractor_digest=deployment.base.extractor_digest,
                data=features_D.tobytes(),
            )


async def tour(
    deployment: Deployment, client: Any, admin: Any, receiver: Receiver, folder: Path, work: Callable[[], Any]
) -> None:
    hook = await client.make_webhook(receiver.url, kinds=["adapter.promoted"])
    anna = await client.make_user("anna", policy={"min_new_feedback": 10})
    assert (await client.make_user("anna")).id == anna.id

    # upload, with a bar; a file that is no image is told and left out
    (folder / "broken.png").write_bytes(b"no image")
    done: list[tuple[int, int]] = []
    refused: list[Path] = []
    uploaded = await client.upload_folder(
        folder,
        user="anna",
        on_progress=lambda *numbers: done.append(numbers),
        on_refused=lambda file, _: refused.append(file),
    )
    assert [str(file.relative_to(folder)) for file in uploaded] == list(NAMES)
    assert (done[-1], len(done), [file.name for file in refused]) == ((4, 4), 4, ["broken.png"])
    with pytest.raises(RequestFailed, match="image"):
        await client.upload_folder(folder)
    (folder / "broken.png").unlink()
    give_features(deployment, list(uploaded.values()))
    work()

    # rate, compare, like; every event has an id, so that nothing counts twice
    batch = await client.post_events(
        {
            "user": "anna",
            "kind": "rating",
            "image": str(deployment.images[i]),
            "ratings": {"beauty": deployment.opinion(i)},
            "scale": SCALE,
            "event_id": f"tour-{i}",
        }
        for i in range(40)
    )
    assert (batch.accepted, batch.rejected) == (40, 0)
    best, worst = sorted(range(40, 80), key=deployment.opinion)[::39][::-1]
    first, last = str(deployment.images[best]), str(deployment.images[worst])
    await client.rate("anna", first, 7, scale=(1, 7))
    await client.compare("anna", first, last, "first")
    liked = await client.like("anna", first)
    retracted = await client.retract("anna", liked.event_id)
    assert retracted.sequence == 44

    trained = await client.wait_until_trained("anna", batch.items[-1].sequence, timeout_s=150)
    assert trained.trained_sequence >= 40
    assert trained.active_adapter is not None

    # her order, and everybody's
    places = await client.rank("anna", [first, last])
    assert [place.image_id for place in places] == [first, last]
    assert {place.prediction.source for place in places} == {"adapter"}
    in_folder = await client.rank("anna", folder, top=2)
    assert [place.number for place in in_folder] == [1, 2]
    assert {place.file for place in in_folder} <= set(uploaded)
    assert sorted(place.generic_number for place in await client.rank("anna", folder)) == [1, 2, 3]
    ranking = await client.ranking("anna", name_prefix="below/")
    assert [(item.name, item.rank) for item in ranking.items] == [("below/c.jpg", 1)]
    in_server = (await client.ranking("anna", [first, last], only_unrated=False)).items
    assert [item.image_id for item in in_server] == [first, last]
    assert (await client.thumbnail(uploaded[folder / "a.jpg"].id, size=128)).startswith(b"\xff\xd8")
    [scored] = await client.predict("anna", [first], confidence=True)
    assert scored.confidence is not None
    assert scored.receipt_id is not None

    # versions, and the way back
    number = (await client.versions("anna"))[-1].number
    assert (await client.version("anna", number)).gate_report
    with pytest.raises(RequestFailed, match="scope"):
        await client.rollback("anna", to="base", reason="try")
    change = await admin.rollback(anna.id, to="base", reason="just trying")
    assert change.to_number is None
    assert (await client.history("anna"))[0].reason == "just trying"
    [scored] = await client.predict("anna", [first])
    assert scored.source == "base"

    # what was told meanwhile
    await asyncio.to_thread(wait_until, "the webhook is told", lambda: bool(receiver.received), 60)
    headers, body = receiver.received[0]
    signatures.verify(hook.secret, headers[signatures.HEADER], body)
    assert (json.loads(body)["type"], json.loads(body)["user"]["external_id"]) == ("adapter.promoted", "anna")
    assert [one.id async for one in client.webhooks()] == [hook.id]
    await client.remove_webhook(hook.id)
    assert [user.external_id async for user in client.users()] == ["anna"]


def listen(url: str, key: str, kinds: list[str]) -> None:
    """Collect a user's events until the one of a rollback."""
    with Client(url, key, retries=Retries(limit=3)) as client:
        for event in client.events("anna", after="00000000-0000-0000-0000-000000000000"):
            kinds.append(event.type)
            if event.type == "adapter.rolled_back":
                return


@pytest.mark.timeout(400)  # several processes that import torch, perhaps beside other tests
def test_tour(database: Database, settings: Settings, database_kind: str, receiver: Receiver, tmp_path: Path) -> None:
    deployment = Deployment(database, settings)
    with database.session() as session:
        admin_key = keys.create(session, name="admin", scope=KeyScope.ADMIN, actor="test").token
    folder = folder_of_pictures(tmp_path)
    api = Api(deployment)
    kinds: list[str] = []
    with running(api.service), ExitStack() as stack:
        wait_until("the API is ready", api.is_ready)

        def work() -> None:
            stack.enter_context(running(start_worker(settings), start_scheduler(settings)))

        async def plain() -> None:
            with Client(api.url, api.key) as client, Client(api.url, admin_key) as admin:
                client.make_user("anna", policy={"min_new_feedback": 10})
                listener.start()
                await tour(deployment, Sync(client), Sync(admin), receiver, folder, work)

        async def concurrent() -> None:
            async with AsyncClient(api.url, api.key) as client, AsyncClient(api.url, admin_key) as admin:
                await client.make_user("anna", policy={"min_new_feedback": 10})
                listener.start()
                await tour(deployment, client, admin, receiver, folder, work)

        listener = threading.Thread(target=listen, args=(api.url, api.key, kinds), daemon=True)
        asyncio.run(plain() if database_kind == "sqlite" else concurrent())
        listener.join(60)
    assert kinds[0] == "adapter.promoted"
    assert "training.finished" in kinds
    assert kinds[-1] == "adapter.rolled_back"
