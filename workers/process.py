"""The context of one worker process, built once per process, after any fork."""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Any

import structlog
from celery.signals import celeryd_init, worker_shutting_down
from sqlalchemy.exc import OperationalError

from paaplus import garbage
from paaplus.db.engine import Database
from paaplus.db.migrate import require_head
from paaplus.errors import Unavailable
from paaplus.pipelines.context import WorkerContext
from paaplus.settings import get_settings
from paaplus.storage.blobs import BlobStore

log = structlog.get_logger(__name__)

_contexts: dict[int, WorkerContext] = {}
_stopping = threading.Event()


def worker_context() -> WorkerContext:
    """The context of this process. torch is imported here, in the process that trains, not in its parent.

    Raises:
        Unavailable: the database's schema is not this version's.
    """
    pid = os.getpid()
    if pid not in _contexts:
        import torch

        from paaplus.models.device import resolve_device

        settings = get_settings()
        torch.set_num_threads(settings.torch_threads)
        database = Database(settings.resolved_database_url)
        require_head(database.engine)
        _contexts.clear()
        _contexts[pid] = WorkerContext(
            database=database,
            blobs=BlobStore(settings.resolved_storage_url),
            settings=settings,
            worker=f"{socket.gethostname()}:{pid}",
            device=resolve_device(settings.device),
            stopping=_stopping,
        )
        garbage.leave_out_what_is_there()
    return _contexts[pid]


@celeryd_init.connect  # type: ignore[untyped-decorator]
def _require_schema(**_: Any) -> None:
    """Stop a worker at its start if the schema is wrong, instead of failing every task."""
    database = Database(get_settings().resolved_database_url)
    try:
        require_head(database.engine)
    except Unavailable as error:
        sys.exit(f"this worker cannot start: {error}")
    except OperationalError as error:  # it may come back; each process checks again before its first task
        log.warning("database does not answer", error=str(error.orig))
    finally:
        database.dispose()  # forked children must not inherit a connection


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_: Any) -> None:
    _stopping.set()  # in a solo worker the task runs in this process, and returns its job to the queue
