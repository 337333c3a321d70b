"""A scheduler that scans by itself, by the monotonic clock, and adds no message to a full queue.

Expiry alone does not limit a queue: a worker drops an expired message when it receives it. Without a worker it stays.
Celery's own schedule has what is done once a day. To look into it costs as much as a scan that finds nothing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import structlog
from celery.beat import PersistentScheduler, ScheduleEntry

from paaplus.settings import get_settings
from paaplus.workers import scan
from paaplus.workers.wake_ups import MAX_WAKE_UPS, num_waiting

log = structlog.get_logger(__name__)

CLOCK_SLACK_S = 1.0
MAX_WAITING = (
    2 * MAX_WAKE_UPS
)  # from here on the scheduler sends nothing; more than MAX_WAKE_UPS, so that wake-ups do not stop scans


class BoundedScheduler(PersistentScheduler):  # type: ignore[misc]
    """Celery's persistent scheduler: it scans by itself, skips a task whose queue is full, survives a changed clock.

    Celery compares times of the wall clock. If the clock is set back, the next run is in the future by as much.
    """

    _scan_at = 0.0  # by the monotonic clock, as the next line
    _publish_at = 0.0
    _clock_offset_s: float | None = None  # of the wall clock from the monotonic one, at the last tick
    _is_closed = False

    def setup_schedule(self) -> None:
        """Read the stored schedule. A last run in the future was stored before the clock was set back."""
        Path(self.schedule_filename).parent.mkdir(parents=True, exist_ok=True)
        super().setup_schedule()
        for entry in self.schedule.values():
            if entry.last_run_at > entry.default_now():
                entry.last_run_at = entry.default_now()

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Scan and publish if it is time; seconds until the next tick."""
        now_s = time.monotonic()
        offset_s = time.time() - now_s
        if self._clock_offset_s is not None and offset_s < self._clock_offset_s - CLOCK_SLACK_S:
            log.warning("clock was set back", seconds=round(self._clock_offset_s - offset_s, 1))
            for entry in self.schedule.values():
                entry.last_run_at = entry.default_now()
            self._heap = None  # Celery fills it again, from the last runs
            self._publish_at = now_s
        self._clock_offset_s = offset_s
        if now_s >= self._scan_at:
            self._scan_at = now_s + get_settings().scan_interval_s
            scan.scan_now(self.app)
        if now_s >= self._publish_at:
            self._publish_at = now_s + float(super().tick(*arguments, **options))
        return max(0.0, min(self._scan_at, self._publish_at) - time.monotonic())

    def sync(self) -> None:
        """Write the schedule, unless it is closed: Celery's handler of signals closes it, also while it is written."""
        if not self._is_closed:
            super().sync()

    def close(self) -> None:
        """Write and close the schedule, once."""
        if not self._is_closed:
            super().close()
            self._is_closed = True

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Publish an entry, or skip it until its next time."""
        waiting = num_waiting(self.app, entry.options.get("queue", self.app.conf.task_default_queue))
        if waiting is not None and waiting < MAX_WAITING:
            super().apply_entry(entry, producer=producer)
