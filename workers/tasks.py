"""The two tasks: run ready jobs, and scan for due users."""

from __future__ import annotations

import time
from typing import Any

import structlog

from paaplus.services import scheduling
from paaplus.services.adaptation import drift
from paaplus.services.operations import retention
from paaplus.settings import Settings
from paaplus.workers.app import app
from paaplus.workers.broker import MAX_WAKE_UPS, num_waiting
from paaplus.workers.process import worker_context

log = structlog.get_logger(__name__)


def wake_up_options(queue: str, settings: Settings) -> dict[str, Any]:
    """Options of a message that wakes a worker on this queue up."""
    return {"queue": queue, "expires": max(5.0, 2 * settings.scan_interval_s)}


@app.task(name="paaplus.run_ready")  # type: ignore[untyped-decorator]
def run_ready(queue: str) -> int:
    """Run ready jobs of a queue for about one scan interval; returns the number of jobs.

    The time is limited so that a solo worker gets to its next scan, which wakes it again.
    """
    from paaplus.pipelines.run_jobs import run_next

    context = worker_context()
    ends_at = time.monotonic() + context.settings.scan_interval_s
    num_run = 0
    while not context.stopping.is_set() and (num := run_next(context, [queue])):
        num_run += num
        if time.monotonic() > ends_at:
            break
    return num_run


@app.task(name="paaplus.scan")  # type: ignore[untyped-decorator]
def scan() -> None:
    """Test for drift, enqueue due users, take back jobs with expired leases, wake workers up.

    Two scans at the same time do no harm.
    """
    context = worker_context()
    num_drifting = drift.watch(context.database, context.serving)
    report = scheduling.scan(context.database, context.settings)
    for queue, num_ready in report.num_ready.items():
        waiting = num_waiting(app, queue)
        if waiting is None:
            continue  # the workers are not woken up now; the next scan tries again
        # up to a maximum: without a worker on this queue, messages would pile up
        for _ in range(min(num_ready, MAX_WAKE_UPS) - waiting):
            run_ready.apply_async((queue,), **wake_up_options(queue, context.settings))
    if report.num_enqueued or report.num_reaped or num_drifting:
        log.info(
            "scan",
            enqueued=report.num_enqueued,
            reaped=report.num_reaped,
            ready=report.num_ready,
            drifting=num_drifting,
        )


@app.task(name="paaplus.maintain")  # type: ignore[untyped-decorator]
def maintain() -> None:
    """Delete what the deployment does not keep any longer."""
    context = worker_context()
    report = retention.apply(context.database, context.settings)
    if report.num_receipts or report.num_jobs:
        log.info("old rows deleted", receipts=report.num_receipts, jobs=report.num_jobs)
