"""Counting the messages in the broker, and a scheduler that adds none to a full queue.

Expiry alone does not limit a queue: a worker drops an expired message when it receives it. Without a worker it stays.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from celery import Celery
from celery.beat import PersistentScheduler, ScheduleEntry
from kombu.exceptions import OperationalError

from paaplus.settings import Settings

log = structlog.get_logger(__name__)

CLOCK_SLACK_S = 1.0
SCAN = "paaplus.scan"  # the scheduler's entry; no message
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


def wake_up_options(queue: str, settings: Settings) -> dict[str, Any]:
    """Options of a message that wakes a worker on this queue up."""
    return {"queue": queue, "expires": max(5.0, 2 * settings.scan_interval_s)}


class BoundedScheduler(PersistentScheduler):  # type: ignore[misc]
    """Celery's persistent scheduler: it scans by itself, skips a task whose queue is full, survives a changed clock.

    Celery compares times of the wall clock. If the clock is set back, the next run is in the future by as much.
    """

    _clock_offset_s: float | None = None  # of the wall clock from the monotonic one, at the last tick

    def setup_schedule(self) -> None:
        """Read the stored schedule. A last run in the future was stored before the clock was set back."""
        super().setup_schedule()
        for entry in self.schedule.values():
            if entry.last_run_at > entry.default_now():
                entry.last_run_at = entry.default_now()

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Publish what is due; seconds until the next look."""
        offset_s = time.time() - time.monotonic()
        if self._clock_offset_s is not None and offset_s < self._clock_offset_s - CLOCK_SLACK_S:
            log.warning("clock was set back", seconds=round(self._clock_offset_s - offset_s, 1))
            for entry in self.schedule.values():
                entry.last_run_at = entry.default_now()
            self._heap = None  # Celery fills it again, from the last runs
        self._clock_offset_s = offset_s
        return float(super().tick(*arguments, **options))

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Scan; or publish another entry, or skip it until its next time."""
        if entry.task == SCAN:
            from paaplus.workers import scan  # it imports this module

            scan.scan_now(self.app)
            return
        waiting = num_waiting(self.app, entry.options.get("queue", self.app.conf.task_default_queue))
        if waiting is not None and waiting < MAX_WAITING:
            super().apply_entry(entry, producer=producer)
