"""A pipeline's view of its worker process and of its job: database, storage, settings, lease and progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from paaplus.db.engine import Database
from paaplus.pipelines.extraction_plan import ExtractionPlan
from paaplus.queue import jobs
from paaplus.queue.jobs import Lease
from paaplus.services.adaptation.known_logs import KnownLogs
from paaplus.services.adaptation.known_sums import KnownSums
from paaplus.services.adaptation.projections import Projections
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

if TYPE_CHECKING:
    from paaplus.pipelines.known_evidence import KnownEvidenceCache

T = TypeVar("T")
Outcome = str | Exception  # of a job: a line for the log, or the error

# The time that a job keeps its worker while other jobs are ready, so that a lone worker gets to scans and trainings
# during a long import. Several scan intervals, because the job waits for about one before it is claimed again.
MIN_ROUND_S = 10.0
ROUND_SCAN_INTERVALS = 5


class NotReady(Exception):
    """The job's inputs are not ready. It returns to the queue for `delay_s` seconds; the attempt is not counted."""

    def __init__(self, message: str, delay_s: float) -> None:
        super().__init__(message)
        self.delay_s = delay_s


@dataclass
class WorkerContext:
    """A worker process: its connections, settings and name. `device` is torch's."""

    database: Database
    blobs: BlobStore
    settings: Settings
    worker: str
    device: str = "cpu"
    stopping: threading.Event = field(default_factory=threading.Event)  # the process was asked to end
    _plan: ExtractionPlan | None = field(default=None, init=False)

    @cached_property
    def serving(self) -> ServingStore:
        """The served adapters and base models, cached in memory."""
        return ServingStore(self.database, self.blobs, self.settings)

    @cached_property
    def projections(self) -> Projections:
        """The projected images that trainings and the gate read: kept once, with those that the drift check scores."""
        return Projections(self.serving.images)

    @cached_property
    def logs(self) -> KnownLogs:
        """The feedback logs that trainings have read."""
        return KnownLogs()

    @cached_property
    def sums(self) -> KnownSums:
        """The sums of many ratings that trainings have made."""
        return KnownSums()

    @cached_property
    def evidence(self) -> KnownEvidenceCache:
        """The evidence of long logs that verdicts have measured. It loads torch: a worker at rest has none."""
        from paaplus.pipelines.known_evidence import KnownEvidenceCache

        return KnownEvidenceCache()

    def extraction_plan(self, extractor_digest: str) -> ExtractionPlan:
        """The images that this worker extracts next: kept from round to round, for the latest extractor."""
        if self._plan is None or self._plan.extractor_digest != extractor_digest:
            self._plan = ExtractionPlan(extractor_digest)
        return self._plan


@dataclass
class Running:
    """A claimed job. `lost` is set when another worker may have the lease; the result must then be discarded."""

    context: WorkerContext
    lease: Lease
    lost: threading.Event = field(default_factory=threading.Event)

    def should_stop(self) -> bool:
        """True if the lease is lost or the process should end."""
        return self.lost.is_set() or self.context.stopping.is_set()

    def progress(self, done: int, total: int) -> None:
        """Store the progress of the job.

        Raises:
            LeaseLost: another worker has the job.
        """
        with self.context.database.session() as session:
            jobs.report_progress(session, self.lease, done, total)

    def round_ends_at(self) -> float:
        """The `time.monotonic()` at which a long job should return to the queue, so that other jobs are done."""
        return time.monotonic() + max(MIN_ROUND_S, ROUND_SCAN_INTERVALS * self.context.settings.scan_interval_s)


def outcome_of(act: Callable[[], T]) -> T | Exception:
    """The result of a function or its exception, so that one user's error does not end the work on the others."""
    try:
        return act()
    except Exception as error:
        return error
