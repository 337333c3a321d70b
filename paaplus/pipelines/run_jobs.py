"""Claim a job, keep its lease alive, run its pipeline, and give it back the right way whatever happens."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from paaplus import faults
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.errors import LeaseLost, PaaplusError, TrainingStopped, Unavailable
from paaplus.pipelines import adapt, extract_features
from paaplus.pipelines.context import NotReady, Running, WorkerContext
from paaplus.queue import jobs
from paaplus.queue.jobs import Lease, RetryPolicy
from paaplus.services import scheduling

log = structlog.get_logger(__name__)
T = TypeVar("T")

PIPELINES: dict[JobKind, Callable[[Running], str]] = {
    JobKind.ADAPT: adapt.run,
    JobKind.EXTRACT_FEATURES: extract_features.run,
}


def run_next(context: WorkerContext, queues: list[str]) -> bool:
    """Run the next ready job of these queues, if there is one; True if there was."""
    lease = jobs.claim(context.database, worker=context.worker, queues=queues, lease_s=context.settings.lease_s)
    if lease is None:
        return False
    with structlog.contextvars.bound_contextvars(
        job_id=str(lease.job_id), user_id=str(lease.user_id) if lease.user_id else None
    ):
        _run(context, lease)
    return True


def _run(context: WorkerContext, lease: Lease) -> None:
    running = Running(context, lease)
    faults.point("job_claimed")
    try:
        with _heartbeat(running):
            summary = PIPELINES[lease.kind](running)
        log.info("job done", kind=lease.kind, attempt=lease.attempt, summary=summary)
    except (LeaseLost, TrainingStopped) as error:
        log.warning("job lost", kind=lease.kind, error=str(error))
        _release(context, lease, str(error))
    except NotReady as waiting:
        log.info("job waits", kind=lease.kind, why=str(waiting))
        _release(context, lease, str(waiting), waiting.delay_s)
    except PaaplusError as error:
        _fail(context, lease, f"{error.code}: {error}", retryable=isinstance(error, Unavailable))
    except Exception as error:
        # Unknown trouble (a driver, memory, a bug): tried again, a bounded number of times, with its traceback kept.
        log.error("job crashed", kind=lease.kind, exc_info=True)
        _fail(context, lease, "".join(traceback.format_exception(error))[-2000:], retryable=True)


@contextmanager
def _heartbeat(running: Running) -> Iterator[None]:
    """Extend the lease every third of it; set `running.lost` when that fails for good.

    Only for as long as a task may take: a job that hangs would otherwise keep its lease for ever.
    """
    lease_s, limit_s = running.context.settings.lease_s, running.context.settings.task_time_limit_s
    ends_at = time.monotonic() + limit_s
    done = threading.Event()

    def beat() -> None:
        while not done.wait(lease_s / 3):
            if time.monotonic() > ends_at:  # the reaper takes it back, and counts the attempt
                log.error("job overdue: its lease is left to run out", limit_s=limit_s)
                return
            try:
                with running.context.database.session() as session:
                    if not jobs.heartbeat(session, running.lease, lease_s):
                        running.lost.set()
                        return
            except SQLAlchemyError as error:  # the database may come back before the lease is over
                log.warning("heartbeat failed", error=str(error))

    thread = threading.Thread(target=beat, name=f"heartbeat-{running.lease.job_id}", daemon=True)
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
