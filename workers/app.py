"""The Celery app of `paaplus worker` and `paaplus scheduler`.

A task only says "look at the job table". So messages may be lost, doubled or late: they are acknowledged early and
expire. There is no result backend: a job's state is in its row.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, setup_logging

from paaplus import logs
from paaplus.settings import Settings, get_settings
from paaplus.workers import folder_broker

MAINTAIN_INTERVAL_S = 86_400.0
SCHEDULE_LOOK_S = 60.0


def make_app(settings: Settings) -> Celery:
    """Build the app of a deployment. In embedded mode the broker is a folder."""
    folder_broker.install()
    celery = Celery(
        "paaplus", broker=settings.resolved_broker_url, include=["paaplus.workers.tasks", "paaplus.workers.bell"]
    )
    celery.conf.update(
        broker_transport_options=_transport_options(settings),
        broker_connection_retry_on_startup=True,
        task_default_queue="cpu",
        task_ignore_result=True,
        result_expires=None,  # no results, so no task at four in the morning that deletes old ones
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_pool_start_method=settings.worker_start_method,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        task_time_limit=settings.task_time_limit_s,
        beat_scheduler="paaplus.workers.broker:BoundedScheduler",
        beat_schedule={
            "maintain": {
                "task": "paaplus.maintain",
                "schedule": MAINTAIN_INTERVAL_S,
                "options": {"queue": "cpu", "expires": MAINTAIN_INTERVAL_S / 2},
            },
        },
        beat_schedule_filename=str(settings.broker_folder / "beat-schedule"),
        beat_max_loop_interval=SCHEDULE_LOOK_S,
    )
    return celery


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.broker_url:
        # Timeouts: a worker must not wait for a dead broker without end. Work is then late, not lost.
        return {"socket_connect_timeout": 2.0, "socket_timeout": 10.0}
    folder = settings.broker_folder
    return {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "control_folder": str(folder / "control"),
    }


@celeryd_init.connect  # type: ignore[untyped-decorator]  # before Celery warns of a worker that runs as root
@setup_logging.connect  # type: ignore[untyped-decorator]
def _configure_logging(**_: Any) -> None:
    logs.configure(get_settings().log_level)
    logging.captureWarnings(True)


app = make_app(get_settings())
