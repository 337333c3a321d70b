"""A worker's thread that hears the bell: it wakes the worker up without waiting for the next scan."""

from __future__ import annotations

import threading
from typing import Any

import structlog
from celery.signals import worker_ready, worker_shutting_down
from kombu.exceptions import OperationalError

from paaplus.queue import bell
from paaplus.settings import get_settings
from paaplus.workers.tasks import run_ready
from paaplus.workers.wake_ups import num_waiting, wake_up_options

log = structlog.get_logger(__name__)

_stopping = threading.Event()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _start(sender: Any, **_: Any) -> None:
    """In the worker's own process, not in the processes of its pool."""
    app = sender.app
    arguments = (app, sorted(app.amqp.queues.consume_from))
    threading.Thread(target=_listen, args=arguments, name="bell", daemon=True).start()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_: Any) -> None:
    _stopping.set()


def _listen(app: Any, queues: list[str]) -> None:
    settings = get_settings()
    for queue in bell.rings(settings.resolved_database_url, queues, _stopping):
        try:
            if num_waiting(app, queue) == 0:  # a message that waits wakes a worker up too
                run_ready.apply_async((queue,), **wake_up_options(queue, settings))
        except (OperationalError, OSError) as error:  # the next scan tries again
            log.warning("worker not woken up", queue=queue, error=str(error))
