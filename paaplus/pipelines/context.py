"""What a pipeline needs of its process, and what it may tell while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from paaplus.db.engine import Database
from paaplus.queue import jobs
from paaplus.queue.jobs import Lease
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

T = TypeVar("T")
Outcome = str | Exception  # of a job: a line for the log, or why it is not done


class NotReady(Exception):
    """The job cannot be done yet through nobody's fault (features are still being extracted): later, unblamed."""

    def __init__(self, message: str, delay_s: float) -> None:
        super().__init__(message)
        self.delay_s = delay_s


@dataclass
class WorkerContext:
    """One worker process's doors and name. `device` is where torch computes."""

    database: Database
    blobs: BlobStore
    settings: Settings
    worker: str
    device: str = "cpu"
    stopping: threading.Event = field(default_factory=threading.Event)  # the process was asked to end

    @cached_property
    def serving(self) -> ServingStore:
        """What users are served, kept in memory."""
        return ServingStore(self.database, self.blobs, self.settings)


@dataclass
class Running:
    """A claimed job under way. `lost` is set when the lease is gone: whatever is computed then is thrown away."""

    context: WorkerContext
    lease: Lease
    lost: threading.Event = field(default_factory=threading.Event)

    def should_stop(self) -> bool:
        return self.lost.is_set() or self.context.stopping.is_set()

    def progress(self, done: int, total: int) -> None:
        """Write how far the job is; raises LeaseLost when it is no longer ours."""
        with self.context.database.session() as session:
            jobs.report_progress(session, self.lease, done, total)


def outcome_of(act: Callable[[], T]) -> T | Exception:
    """What it gives, or what it raises: one user's trouble, which must not become that of the next."""
    try:
        return act()
    except Exception as error:
        return error
