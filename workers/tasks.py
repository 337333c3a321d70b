"""The two tasks: run what is ready, and look for what is due."""

from __future__ import annotations

import time

import structlog

from paaplus.services import scheduling
from paaplus.services.adaptation import drift
from paaplus.workers.app import app
from paaplus.workers.broker import MAX_WAKE_UPS, num_waiting
from paaplus.workers.process import worker_context

log = structlog.get_logger(__name__)


@app.task(name="paaplus.run_ready")  # type: ignore[untyped-decorator]
def run_ready(queue: str) -> int:
    """Run ready jobs of a queue, one cohort after the other, for about one scan interval; returns how many.

    Bounded, because a solo worker must get to its next scan; the scan wakes it again.
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
    """Watch for drift, enqueue due users, take jobs back from silent workers, wake workers up.

    Harmless when run twice at once.
    """
    context = worker_context()
    num_drifting = drift.watch(context.database, context.serving)
    report = scheduling.scan(context.database, context.settings)
    for queue, num_ready in report.num_ready.items():
        waiting = num_waiting(app, queue)
        if waiting is None:
            continue  # no bell, no delay but one: the next scan tries again
        # filled up, not added to: without a worker on this queue, its messages would pile up
        for _ in range(min(num_ready, MAX_WAKE_UPS) - waiting):
            run_ready.apply_async((queue,), queue=queue, expires=max(5.0, 2 * context.settings.scan_interval_s))
    if report.num_enqueued or report.num_reaped or num_drifting:
        log.info(
            "scan",
            enqueued=report.num_enqueued,
            reaped=report.num_reaped,
            ready=report.num_ready,
            drifting=num_drifting,
        )
