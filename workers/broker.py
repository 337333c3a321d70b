"""Counting the messages in the broker, and a scheduler that adds none to a full queue.

Expiry alone does not limit a queue: a worker drops an expired message when it receives it. Without a worker it stays.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery
from celery.beat import PersistentScheduler, ScheduleEntry
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)

MAX_WAKE_UPS = 16  # per queue; a worker that is awake looks for further jobs by itself
MAX_WAITING = (
    2 * MAX_WAKE_UPS
)  # from here on the scheduler sends nothing; more than MAX_WAKE_UPS, so that wake-ups do not stop scans


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


class BoundedScheduler(PersistentScheduler):  # type: ignore[misc]
    """Celery's persistent scheduler, which skips a task while the task's queue is full."""

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Publish the entry, or skip it until its next time."""
        waiting = num_waiting(self.app, entry.options["queue"])
        if waiting is not None and waiting < MAX_WAITING:
            super().apply_entry(entry, producer=producer)
