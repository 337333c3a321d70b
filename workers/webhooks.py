"""The scheduler's thread that delivers events to webhooks, so that no receiver makes a scan wait."""

from __future__ import annotations

import threading
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError

from paaplus.db.engine import Database
from paaplus.services.webhooks import deliveries
from paaplus.settings import Settings

log = structlog.get_logger(__name__)

_threads: dict[str, threading.Thread] = {}  # by database


def start(settings: Settings) -> None:
    """Start the thread, unless it runs. It ends with the process; what it had claimed is due again later."""
    url = settings.resolved_database_url
    thread = _threads.get(url)
    if thread is None or not thread.is_alive():
        _threads[url] = threading.Thread(target=_deliver, args=(settings,), name="webhooks", daemon=True)
        _threads[url].start()


def _deliver(settings: Settings) -> None:
    database = Database(settings.resolved_database_url)
    while True:
        try:
            if num_delivered := deliveries.deliver_due(database, settings):
                log.info("events delivered", num=num_delivered)
        except SQLAlchemyError as error:  # the database may answer again
            log.warning("events not delivered", error=type(error).__name__)
        time.sleep(settings.scan_interval_s)
