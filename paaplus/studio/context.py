"""What the studio is given by the API process that serves it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol
from uuid import UUID

from paaplus.db.engine import Database
from paaplus.services.feedback.writer import FeedbackWriter
from paaplus.services.predictions.predict import Predictor
from paaplus.services.users.failed_attempts import FailedAttempts
from paaplus.services.users.keys import KeyRing
from paaplus.services.users.rate_limits import RateLimiter
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore


class News(Protocol):
    """Waits for events of users: pairs of a user and the last event that was seen."""

    async def wait(self, key: str, items: Collection[tuple[UUID, UUID]], wait_s: float) -> bool: ...


class Streams(Protocol):
    """Bounds the open streams of a key."""

    def open(self, key: str) -> None: ...
    def close(self, key: str) -> None: ...


class StudioContext(Protocol):
    """Connections and caches of the process."""

    @property
    def settings(self) -> Settings: ...
    @property
    def database(self) -> Database: ...
    @property
    def blobs(self) -> BlobStore: ...
    @property
    def keys(self) -> KeyRing: ...
    @property
    def allowances(self) -> RateLimiter: ...
    @property
    def feedback(self) -> FeedbackWriter: ...
    @property
    def predictor(self) -> Predictor: ...
    @property
    def failures(self) -> FailedAttempts: ...
    @property
    def news(self) -> News: ...
    @property
    def streams(self) -> Streams: ...
