"""Claim jobs, extend their leases, run their pipeline, and store how each ended."""

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
from paaplus.queue.jobs import DeadJob, Lease, RetryPolicy
from paaplus.services import scheduling

log = structlog.get_logger(__name__)
T = TypeVar("T")

Pipeline = Callable[[Sequence[Running]], Iterator[tuple[Running, Outcome]]]


def one_at_a_time(run: Callable[[Running], str]) -> Pipeline:
    """A pipeline that runs one job after the other."""

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
    """Run the next ready job of these queues, with the jobs that are batched with it. Returns their number.

    Raises:
        SQLAlchemyError: the end of a job could not be stored. The other jobs were still run.
    """
    settings = context.settings
    leases = jobs.claim_together(
        context.database,
        worker=context.worker,
        queues=queues,
        lease_s=settings.lease_s,
        limit=settings.claim_size,
        weights=settings.application_weights,
    )
    if not leases:
        return 0
    faults.point("job_claimed")
    claimed = {lease.job_id: Running(context, lease) for lease in leases}
    errors: list[SQLAlchemyError] = []
    with _heartbeat(context, claimed):
        for running, outcome in PIPELINES[leases[0].kind](tuple(claimed.values())):
            with _bound(running.lease):
                try:
                    _end(context, running.lease, outcome)
                except SQLAlchemyError as error:  # the job returns to the queue when its lease expires
                    log.error("end of job not written", kind=running.lease.kind, error=str(error))
                    errors.append(error)
            del claimed[running.lease.job_id]
    if errors:
        raise errors[0]
    return len(leases)


def _bound(lease: Lease) -> AbstractContextManager[None]:
    """A context in which log lines have the ids of job and user."""
    user_id = str(lease.user_id) if lease.user_id else None
    return structlog.contextvars.bound_contextvars(job_id=str(lease.job_id), user_id=user_id)


def _end(context: WorkerContext, lease: Lease, outcome: Outcome) -> None:
    """Log the outcome of a job. If it is not done, return it to the queue or let it fail."""
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
            # An unexpected error (a driver, memory, a bug): tried again, up to the limit, with the traceback stored.
            log.error("job crashed", kind=lease.kind, exc_info=outcome)
            _fail(context, lease, "".join(traceback.format_exception(outcome))[-2000:], retryable=True)


@contextmanager
def _heartbeat(context: WorkerContext, claimed: dict[UUID, Running]) -> Iterator[None]:
    """Extend the leases of claimed jobs every third of their length; set `lost` for a lease that is gone.

    It ends at the time limit of a task: a job that hangs would otherwise keep its lease forever.
    """
    lease_s, limit_s = context.settings.lease_s, context.settings.task_time_limit_s
    ends_at = time.monotonic() + limit_s
    done = threading.Event()

    def beat() -> None:
        while not done.wait(lease_s / 3):
            if time.monotonic() > ends_at:  # the reaper returns them to the queue and counts the attempt
                log.error(
                    "jobs over the time limit: their leases are no longer extended",
                    limit_s=limit_s,
                    num_jobs=len(claimed),
                )
                return
            runnings = [running for running in tuple(claimed.values()) if not running.lost.is_set()]
            try:
                with context.database.session() as session:
                    held = jobs.heartbeat(session, [running.lease for running in runnings], lease_s)
            except SQLAlchemyError as error:  # the database may answer again before the leases expire
                log.warning("heartbeat failed", error=str(error))
                continue
            for running in runnings:
                if running.lease.job_id not in held:  # or the job has ended: then `lost` has no effect
                    running.lost.set()

    thread = threading.Thread(target=beat, name=f"heartbeat-{context.worker}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _release(context: WorkerContext, lease: Lease, note: str, delay_s: float = 0.0) -> None:
    """Return the job to the queue without counting the attempt. Without effect if the lease is lost."""
    _retried(lambda: _in_session(context, lambda s: jobs.release(s, lease, note, delay_s)))


def _fail(context: WorkerContext, lease: Lease, error: str, *, retryable: bool) -> None:
    retry = RetryPolicy(context.settings.retry_base_s, context.settings.retry_cap_s)

    def write() -> JobState | None:
        with context.database.session() as session:
            state = jobs.fail(session, lease, error, retryable=retryable, retry=retry)
            if state == JobState.DEAD:
                scheduling.give_up(session, DeadJob(lease.job_id, lease.kind, lease.user_id))
            return state

    state = _retried(write)
    log.warning("job failed", kind=lease.kind, attempt=lease.attempt, state=state, error=error)


def _in_session(context: WorkerContext, act: Callable[..., None]) -> None:
    with context.database.session() as session:
        act(session)


def _retried(write: Callable[[], T], tries: int = 3) -> T:
    """Try again if a successor of the job was queued between reading and writing."""
    for _ in range(tries - 1):
        try:
            return write()
        except IntegrityError:
            continue
    return write()
