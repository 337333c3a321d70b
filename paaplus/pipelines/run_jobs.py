"""Claim jobs, keep their leases alive, run their pipeline, and give each back the right way whatever happens."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from paaplus import faults
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.errors import LeaseLost, PaaplusError, TrainingStopped, Unavailable
from paaplus.pipelines import adapt, draw_maps, extract_features, label_images
from paaplus.pipelines.context import NotReady, Outcome, Running, WorkerContext, outcome_of
from paaplus.queue import jobs
from paaplus.queue.jobs import Lease, RetryPolicy
from paaplus.services import scheduling

log = structlog.get_logger(__name__)
T = TypeVar("T")

Pipeline = Callable[[Sequence[Running]], Iterator[tuple[Running, Outcome]]]


def one_at_a_time(run: Callable[[Running], str]) -> Pipeline:
    """The pipeline that does jobs each on its own."""

    def pipeline(runnings: Sequence[Running]) -> Iterator[tuple[Running, Outcome]]:
        for running in runnings:
            with _bound(running.lease):
                outcome = outcome_of(partial(run, running))
            yield running, outcome

    return pipeline


PIPELINES: dict[JobKind, Pipeline] = {
    JobKind.ADAPT: adapt.run_together,
    JobKind.EXTRACT_FEATURES: one_at_a_time(extract_features.run),
    JobKind.LABEL_IMAGES: one_at_a_time(label_images.run),
    JobKind.DRAW_MAP: one_at_a_time(draw_maps.run),
}


def run_next(context: WorkerContext, queues: list[str]) -> int:
    """Run the next ready job of these queues, with those that go together with it; how many that were.

    Raises:
        SQLAlchemyError: how a job ended could not be written; the others were gone on with.
    """
    settings = context.settings
    leases = jobs.claim_together(
        context.database, worker=context.worker, queues=queues, lease_s=settings.lease_s, limit=settings.cohort_size
    )
    if not leases:
        return 0
    faults.point("job_claimed")
    under_way = {lease.job_id: Running(context, lease) for lease in leases}
    unwritten: list[SQLAlchemyError] = []
    with _heartbeat(context, under_way):
        for running, outcome in PIPELINES[leases[0].kind](tuple(under_way.values())):
            with _bound(running.lease):
                try:
                    _end(context, running.lease, outcome)
                except SQLAlchemyError as error:  # its lease runs out, and the job is taken back
                    log.error("end of job not written", kind=running.lease.kind, error=str(error))
                    unwritten.append(error)
            del under_way[running.lease.job_id]
    if unwritten:
        raise unwritten[0]
    return len(leases)


def _bound(lease: Lease) -> AbstractContextManager[None]:
    """Log lines that say which job and which user they are about."""
    user_id = str(lease.user_id) if lease.user_id else None
    return structlog.contextvars.bound_contextvars(job_id=str(lease.job_id), user_id=user_id)


def _end(context: WorkerContext, lease: Lease, outcome: Outcome) -> None:
    """Say how a job went, and give it back if it is not done."""
    match outcome:
        case str():
            log.info("job done", kind=lease.kind, attempt=lease.attempt, summary=outcome)
        case LeaseLost() | TrainingStopped():
            log.warning("job lost", kind=lease.kind, error=str(outcome))
            _release(context, lease, str(outcome))
        case NotReady():
            log.info("job waits", kind=lease.kind, why=str(outcome))
            _release(context, lease, str(outcome), outcome.delay_s)
        case PaaplusError():
            _fail(context, lease, f"{outcome.code}: {outcome}", retryable=isinstance(outcome, Unavailable))
        case _:
            # Unknown trouble (a driver, memory, a bug): tried again, a bounded number of times, its traceback kept.
            log.error("job crashed", kind=lease.kind, exc_info=outcome)
            _fail(context, lease, "".join(traceback.format_exception(outcome))[-2000:], retryable=True)


@contextmanager
def _heartbeat(context: WorkerContext, under_way: dict[UUID, Running]) -> Iterator[None]:
    """Extend the leases of what is under way every third of them; set `lost` where that fails for good.

    Only for as long as a task may take: a job that hangs would otherwise keep its lease for ever.
    """
    lease_s, limit_s = context.settings.lease_s, context.settings.task_time_limit_s
    ends_at = time.monotonic() + limit_s
    done = threading.Event()

    def beat() -> None:
        while not done.wait(lease_s / 3):
            if time.monotonic() > ends_at:  # the reaper takes them back, and counts the attempt
                log.error("jobs overdue: their leases are left to run out", limit_s=limit_s, num_jobs=len(under_way))
                return
            runnings = [running for running in tuple(under_way.values()) if not running.lost.is_set()]
            try:
                with context.database.session() as session:
                    held = jobs.heartbeat(session, [running.lease for running in runnings], lease_s)
            except SQLAlchemyError as error:  # the database may come back before the leases are over
                log.warning("heartbeat failed", error=str(error))
                continue
            for running in runnings:
                if running.lease.job_id not in held:  # or it has ended just now, which is no loss
                    running.lost.set()

    thread = threading.Thread(target=beat, name=f"heartbeat-{context.worker}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _release(context: WorkerContext, lease: Lease, note: str, delay_s: float = 0.0) -> None:
    """Give the job back unblamed; of a lost lease nothing is ours to give."""
    _retried(lambda: _in_session(context, lambda s: jobs.release(s, lease, note, delay_s)))


def _fail(context: WorkerContext, lease: Lease, error: str, *, retryable: bool) -> None:
    retry = RetryPolicy(context.settings.retry_base_s, context.settings.retry_cap_s)

    def write() -> JobState | None:
        with context.database.session() as session:
            state = jobs.fail(session, lease, error, retryable=retryable, retry=retry)
            if state == JobState.DEAD and lease.user_id is not None:
                scheduling.postpone(session, lease.user_id)
            return state

    state = _retried(write)
    log.warning("job failed", kind=lease.kind, attempt=lease.attempt, state=state, error=error)


def _in_session(context: WorkerContext, act: Callable[..., None]) -> None:
    with context.database.session() as session:
        act(session)


def _retried(write: Callable[[], T], tries: int = 3) -> T:
    """Again when a successor was queued between our look and our write."""
    for _ in range(tries - 1):
        try:
            return write()
        except IntegrityError:
            continue
    return write()
