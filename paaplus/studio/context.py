"""What the studio is given by the API process that serves it."""

from __future__ import annotations

from typing import Protocol

from paaplus.db.engine import Database
from paaplus.services.feedback.writer import FeedbackWriter
from paaplus.services.predictions.predict import Predictor
from paaplus.services.users.failed_attempts import FailedAttempts
from paaplus.services.users.keys import KeyRing
from paaplus.services.users.rate_limits import RateLimiter
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore


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
