"""The task of workers: run ready jobs."""

from __future__ import annotations

import time
from dataclasses import astuple

import structlog

from paaplus.services.operations import retention
from paaplus.workers.app import app
from paaplus.workers.process import worker_context

log = structlog.get_logger(__name__)


@app.task(name="paaplus.run_ready")  # type: ignore[untyped-decorator]
def run_ready(queue: str) -> int:
    """Run ready jobs of a queue for about one scan interval; returns the number of jobs.

    The time is limited so that a solo worker also gets to the jobs of its other queues.
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


@app.task(name="paaplus.maintain")  # type: ignore[untyped-decorator]
def maintain() -> None:
    """Delete what the deployment does not keep any longer."""
    context = worker_context()
    report = retention.apply(context.database, context.blobs, context.settings)
    if any(astuple(report)):
        log.info(
            "old rows deleted",
            receipts=report.num_receipts,
            jobs=report.num_jobs,
            events=report.num_events,
            uploads=report.num_uploads,
        )
