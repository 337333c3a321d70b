"""The API as a real process: what it answered 2xx to is kept when it is killed, and it never loads torch."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow
from paaplus.db.tables.governance import KeyScope
from paaplus.services.users import keys
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION
from tests.support.processes import Service, running, wait_until


class Api:
    """A uvicorn process of one deployment, and a key for its application."""

    def __init__(self, deployment: Deployment, *, forked: bool = True) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        port = self.url.rsplit(":", 1)[1]
        command = [sys.executable, "-m", "uvicorn", "paaplus.api.app:app", "--port", port]
        self.service = Service("api", command, deployment.settings, forked=forked)
        with deployment.database.session() as session:
            self.key = keys.create(
                session, name="app", scope=KeyScope.APPLICATION, application=APPLICATION, user_id=None, actor="test"
            ).token

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return json.loads(self._call("POST", path, json.dumps(body).encode()))

    def get(self, path: str) -> Any:
        return json.loads(self._call("GET", path))

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def metrics(self) -> str:
        return self._call("GET", "/metrics").decode()

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def test_feedback_that_was_acknowledged_is_kept_when_the_api_is_killed(deployment: Deployment) -> None:
    deployment.add_user("anna")
    api = Api(deployment)
    acknowledged: list[str] = []

    def post_until_it_dies(writer: int) -> None:
        for i in range(100_000):
            event_id = f"w{writer}-{i}"
            event = {
                "event_id": event_id,
                "user": "anna",
                "kind": "rating",
                "image": str(deployment.images[i % 100]),
                "ratings": {"beauty": 5.0},
                "scale": {"min": 0, "max": 10},
            }
            try:
                api.post("/v1/feedback", event)
            except (urllib.error.URLError, http.client.HTTPException, OSError):
                return
            acknowledged.append(event_id)

    with running(api.service):
        wait_until("the API is ready", api.is_ready)
        writers = [threading.Thread(target=post_until_it_dies, args=(w,)) for w in range(3)]
        for writer in writers:
            writer.start()
        wait_until("some feedback is in", lambda: len(acknowledged) > 30)
        time.sleep(0.2)
        api.service.kill()
        for writer in writers:
            writer.join()
    with deployment.database.read_session() as session:
        rows = session.execute(sa.select(FeedbackRow.event_id, FeedbackRow.sequence)).all()
    assert set(acknowledged) <= {event_id for event_id, _ in rows}
    assert sorted(sequence for _, sequence in rows) == list(range(1, len(rows) + 1))


def test_api_process_serves_predictions_without_loading_torch(deployment: Deployment) -> None:
    user = deployment.add_user("anna")
    deployment.rate(user, range(40))
    deployment.work()
    api = Api(deployment, forked=False)  # what a fork has imported does not count
    with running(api.service):
        wait_until("the API is ready", api.is_ready)
        images = [str(image) for image in deployment.images[:50]]
        answer = api.post("/v1/predictions", {"users": ["anna"], "images": images})
        served = [item["scores"]["beauty"] for item in answer["items"]]
        assert served == [float(score) for score in deployment.scores(user)[:50, 0]], "the worker's bits, over HTTP"
        assert {item["adapter"]["number"] for item in answer["items"]} == {1}
        loaded = Path(f"/proc/{api.service.process.pid}/maps")
        if loaded.exists():
            assert "libtorch" not in loaded.read_text()
