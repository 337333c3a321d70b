"""Messages that wake workers up: how many wait in a queue, and what a new one carries."""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from paaplus.settings import Settings

log = structlog.get_logger(__name__)

MAX_WAKE_UPS = 16  # per queue; a worker that is awake looks for further jobs by itself


def num_waiting(app: Celery, queue: str) -> int | None:
    """Number of messages in this queue that no worker has received; None if the broker does not answer."""
    with app.connection_for_write() as connection:
        try:
            # one retry; `default_channel` would wait for the broker without end
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            with connection.channel() as channel:
                return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0  # the queue does not exist: Redis has no empty queues
        except (OperationalError, *connection.connection_errors, OSError) as error:
            log.warning("broker does not answer", queue=queue, error=str(error))
            return None


def wake_up_options(queue: str, settings: Settings) -> dict[str, Any]:
    """Options of a message that wakes a worker on this queue up."""
    return {"queue": queue, "expires": max(5.0, 2 * settings.scan_interval_s)}
