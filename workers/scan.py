"""The scan: test for drift, enqueue due users, take back jobs with expired leases, wake workers up.

The scheduler does it in its own process, so that no training can make it wait. Several schedulers may run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import structlog
from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from paaplus.db.engine import Database
from paaplus.services import scheduling
from paaplus.services.adaptation import drift
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.settings import Settings, get_settings
from paaplus.storage.blobs import BlobStore
from paaplus.workers import webhooks
from paaplus.workers.wake_ups import MAX_WAKE_UPS, num_waiting, wake_up_options

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ScanContext:
    """What a scan needs: no torch."""

    settings: Settings

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.resolved_database_url)

    @cached_property
    def serving(self) -> ServingStore:
        return ServingStore(self.database, BlobStore(self.settings.resolved_storage_url), self.settings)


_contexts: dict[str, ScanContext] = {}


def scan_now(app: Celery) -> None:
    """One scan in this process. If the database does not answer, the next scan tries again."""
    settings = get_settings()
    context = _contexts.setdefault(settings.resolved_database_url, ScanContext(settings))
    webhooks.start(settings)
    try:
        scan(app, context)
    except SQLAlchemyError as error:
        log.error("scan failed", error=str(error))


def scan(app: Celery, context: ScanContext) -> None:
    """Two scans at the same time do no harm."""
    num_drifting = drift.watch(context.database, context.serving)
    report = scheduling.scan(context.database, context.settings)
    for queue, num_ready in report.num_ready.items():
        waiting = num_waiting(app, queue)
        if waiting is None:
            continue  # the workers are not woken up now; the next scan tries again
        # up to a maximum: without a worker on this queue, messages would pile up
        for _ in range(min(num_ready, MAX_WAKE_UPS) - waiting):
            app.send_task("paaplus.run_ready", (queue,), **wake_up_options(queue, context.settings))
    if report.num_enqueued or report.num_reaped or num_drifting:
        log.info(
            "scan",
            enqueued=report.num_enqueued,
            reaped=report.num_reaped,
            ready=report.num_ready,
            drifting=num_drifting,
        )
