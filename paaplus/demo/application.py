"""The demo's application: `paaplus.client`, and the waiting for many users at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from paaplus.client import Client, NotInTime, Prediction
from paaplus.demo.failure import DemoFailed

UPLOAD_THREADS = 4
MAX_WAIT_S = 600.0  # for one training; normally seconds
FEATURES_S = 3600.0
_TURN_S = 2.0  # how long one user is waited for before the platform is looked after

Check = Callable[[], None]


class Application(Client):
    """A client with one application's key. What the platform refuses raises an error of `paaplus.client`."""

    def upload_files(self, files: Sequence[Path], on_done: Check) -> dict[str, str]:
        """Upload image files; returns image ids by file name."""

        def one(file: Path) -> tuple[str, str]:
            image = self.upload(file)
            on_done()
            return file.name, image.id

        with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
            return dict(pool.map(one, files))

    def wait_for_features(self, user: str, images: Sequence[str], on_progress: Callable[[int], None]) -> None:
        """Wait until all images have scores for a user.

        Raises:
            DemoFailed: an image cannot be scored.
            NotInTime: some have none after an hour.
        """
        ranked = self.rank(user, images, timeout_s=FEATURES_S, on_progress=lambda done, _: on_progress(done))
        wanted = set(images)  # files of equal content are one image
        if len(ranked) < len(wanted):
            raise DemoFailed(f"{len(wanted) - len(ranked)} of {len(wanted)} images have no scores")

    def scores(self, user: str, images: Sequence[str]) -> list[Prediction]:
        """Scores of images for a user, in their order.

        Raises:
            DemoFailed: one of them is not scored.
        """
        found = self.predict(user, images)
        if bad := [item for item in found if item.status != "scored"]:
            raise DemoFailed(f"{len(bad)} of {len(found)} predictions without scores, the first: {bad[0]}")
        return found

    def post_all(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Post events in order.

        Raises:
            DemoFailed: one of them was not accepted.
        """
        batch = self.post_events(events)
        if bad := [item for item in batch.items if item.status != "accepted"]:
            raise DemoFailed(f"{len(bad)} of {len(events)} events were not accepted, the first: {bad[0]}")

    def wait_until_all_trained(self, users: Iterable[str], on_trained: Callable[[str], None], check: Check) -> None:
        """Wait until no user has pending feedback. `check` is called while waiting and may raise.

        Raises:
            DemoFailed: a training was given up, or not done in time.
        """
        for user in users:
            deadline = time.monotonic() + MAX_WAIT_S
            while not self._is_trained(user):
                check()
                if time.monotonic() > deadline:
                    raise DemoFailed(f"not trained within {MAX_WAIT_S:.0f} s: {user}\n{self._errors_of_jobs()}")
            on_trained(user)

    def wait_for_success(self, job_id: str, check: Check) -> None:
        """Wait until a job is done. `check` is called while waiting and may raise.

        Raises:
            DemoFailed: the job was given up, or not done in time.
        """
        deadline = time.monotonic() + MAX_WAIT_S
        while True:
            check()
            try:
                job = self.wait_for_job(job_id, timeout_s=_TURN_S)
            except NotInTime as error:
                if time.monotonic() > deadline:
                    raise DemoFailed(str(error)) from error
                continue
            if job.state != "succeeded":
                raise DemoFailed(f"job {job_id} is {job.state}: {job.last_error}")
            return

    def _is_trained(self, user: str) -> bool:
        try:
            self.wait_until_trained(user, timeout_s=_TURN_S)
        except NotInTime:
            return False
        return True

    def _errors_of_jobs(self) -> str:
        page = self.call("GET", "/v1/jobs", limit=20)
        return "\n".join(
            f"{job['kind']} {job['state']}: {job['last_error']}" for job in page["items"] if job["last_error"]
        )
