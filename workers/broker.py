"""How many messages wait in the broker, and a beat that adds none while nobody takes them.

Expiry alone bounds nothing: an expired message is dropped by the worker that receives it, and with no worker it stays.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery
from celery.beat import PersistentScheduler, ScheduleEntry
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)

MAX_WAKE_UPS = 16  # per queue: more workers than that find work by themselves, once awake
MAX_WAITING = 2 * MAX_WAKE_UPS  # above it, beat is silent: a queue full of wake-ups must not keep scans out


def num_waiting(app: Celery, queue: str) -> int | None:
    """Messages in this queue that no worker has received; None when the broker does not answer."""
    with app.connection_for_write() as connection:
        try:
            # bounded, unlike `default_channel`, which waits for the broker for ever
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            with connection.channel() as channel:
                return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0  # there is no such queue: Redis knows no empty ones
        except (OperationalError, *connection.connection_errors, OSError) as error:
            log.warning("broker does not answer", queue=queue, error=str(error))
            return None


class BoundedScheduler(PersistentScheduler):  # type: ignore[misc]
    """Celery's beat, which leaves a task out while its queue is full of messages that nobody takes."""

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Publish the entry, or wait for its next turn."""
        waiting = num_waiting(self.app, entry.options["queue"])
        if waiting is not None and waiting < MAX_WAITING:
            super().apply_entry(entry, producer=producer)
