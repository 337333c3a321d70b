"""The HTTP calls of the demo, as an application makes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2

from paaplus.demo.failure import DemoFailed

UPLOAD_THREADS = 4
TIMEOUT_S = 60.0
MAX_WAIT_S = 600.0  # for features and for trainings; normally seconds
MAX_EVENTS = 1000
MAX_ITEMS = 2000
RETRY_PAUSES_S = (0.2, 0.5, 1.0, 2.0)  # after a 503
_POLL_S = 0.25


class Client:
    """An HTTP client with one application's key. A failure raises `DemoFailed` with request and answer."""

    def __init__(self, url: str, key: str, transport: httpx2.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, transport=transport)

    def close(self) -> None:
        self._http.close()

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self._call("POST", path, json={} if body is None else body)

    def put(self, path: str, body: Any) -> Any:
        return self._call("PUT", path, json=body)

    def wait_for_job(self, job_id: str, check: Callable[[], None]) -> None:
        """Wait until a job is done. `check` is called while waiting and may raise.

        Raises:
            DemoFailed: the job was given up, or not done in time.
        """
        deadline = time.monotonic() + MAX_WAIT_S
        while (job := self.get(f"/v1/jobs/{job_id}"))["state"] != "succeeded":
            check()
            if job["state"] in ("dead", "cancelled") or time.monotonic() > deadline:
                raise DemoFailed(f"job {job_id} is {job['state']}: {job['last_error']}")
            time.sleep(_POLL_S)

    def upload(self, files: Sequence[Path], on_done: Callable[[], None]) -> dict[str, str]:
        """Upload image files; returns image ids by file name."""

        def one(file: Path) -> tuple[str, str]:
            image = self._call("POST", "/v1/images", files={"file": (file.name, file.read_bytes())})
            on_done()
            return file.name, image["id"]

        with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
            return dict(pool.map(one, files))

    def wait_for_features(self, user: str, images: Sequence[str], on_progress: Callable[[int], None]) -> None:
        """Request one user's scores until none is pending, at the intervals that the answers give.

        Raises:
            DemoFailed: an image failed, or no further features were ready for `MAX_WAIT_S`.
        """
        deadline = time.monotonic() + MAX_WAIT_S
        pending = list(images)
        while pending:
            asked, later = pending[:MAX_ITEMS], pending[MAX_ITEMS:]
            answer = self._call("POST", "/v1/predictions", json={"users": [user], "images": asked})
            self._check_scored(answer["items"], allow_pending=True)
            waiting = [item for item in answer["items"] if item["status"] == "pending"]
            still_pending = [item["image_id"] for item in waiting] + later
            if len(still_pending) < len(pending):
                deadline = time.monotonic() + MAX_WAIT_S
            pending = still_pending
            on_progress(len(images) - len(pending))
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"{len(pending)} of {len(images)} images have no features, and no more came for {MAX_WAIT_S:.0f} s"
                )
            time.sleep(min((item["retry_after_s"] or 1 for item in waiting), default=0))

    def create_user(self, external_id: str, policy: dict[str, Any]) -> dict[str, Any]:
        return dict(self._call("POST", "/v1/users", json={"external_id": external_id, "policy": policy}))

    def predict(self, items: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """Scores of (user, image) pairs, in their order.

        Raises:
            DemoFailed: one of them is not scored.
        """
        scored: list[dict[str, Any]] = []
        for start in range(0, len(items), MAX_ITEMS):
            batch = [{"user": user, "image": image} for user, image in items[start : start + MAX_ITEMS]]
            scored += self._call("POST", "/v1/predictions", json={"items": batch})["items"]
        self._check_scored(scored, allow_pending=False)
        return scored

    def post_feedback(self, events: Sequence[dict[str, Any]]) -> None:
        """Post events in order.

        Raises:
            DemoFailed: one of them was not accepted.
        """
        for start in range(0, len(events), MAX_EVENTS):
            batch = list(events[start : start + MAX_EVENTS])
            answer = self._call("POST", "/v1/feedback", json={"events": batch})
            if answer["accepted"] != len(batch):
                bad = [item for item in answer["items"] if item["status"] != "accepted"]
                raise DemoFailed(f"{len(bad)} of {len(batch)} events were not accepted, the first: {bad[0]}")

    def wait_until_trained(
        self, users: Iterable[str], on_trained: Callable[[str], None], check: Callable[[], None]
    ) -> None:
        """Wait until no user has pending feedback. `check` is called while waiting and may raise.

        Raises:
            DemoFailed: a training was given up, or not done in time.
        """
        waiting = list(users)
        deadline = time.monotonic() + MAX_WAIT_S
        while waiting:
            check()
            still = []
            for user in waiting:
                if self.get(f"/v1/users/{user}")["pending_feedback"]:
                    still.append(user)
                else:
                    on_trained(user)
            waiting = still
            if time.monotonic() > deadline:
                raise DemoFailed(f"not trained within {MAX_WAIT_S:.0f} s: {', '.join(waiting)}\n{self._dead_jobs()}")
            if waiting:
                time.sleep(_POLL_S)

    def _dead_jobs(self) -> str:
        page = self.get("/v1/jobs?limit=20")
        return "\n".join(f"{j['kind']} {j['state']}: {j['last_error']}" for j in page["items"] if j["last_error"])

    def _check_scored(self, items: Sequence[dict[str, Any]], allow_pending: bool) -> None:
        fine = ("scored", "pending") if allow_pending else ("scored",)
        if bad := [item for item in items if item["status"] not in fine]:
            raise DemoFailed(f"{len(bad)} of {len(items)} predictions without scores, the first: {bad[0]}")

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        """Send one request. After a 503, which changes nothing, try again a few times."""
        for pause_s in (*RETRY_PAUSES_S, None):
            try:
                response = self._http.request(method, path, **arguments)
            except httpx2.HTTPError as error:
                raise DemoFailed(f"{method} {path}: {type(error).__name__}: {error}") from error
            if response.status_code == 503 and pause_s is not None:
                time.sleep(pause_s)
                continue
            if response.status_code >= 400:
                raise DemoFailed(f"{method} {path}: {response.status_code} {response.text[:1000]}")
            return response.json()
        raise AssertionError("the last try either answers or raises")
