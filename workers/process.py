"""One worker process's context: made once per process, after any fork, torn down with it."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

from celery.signals import worker_shutting_down

from paaplus.db.engine import Database
from paaplus.db.migrate import require_head
from paaplus.pipelines.context import WorkerContext
from paaplus.settings import get_settings
from paaplus.storage.blobs import BlobStore

_contexts: dict[int, WorkerContext] = {}
_stopping = threading.Event()


def worker_context() -> WorkerContext:
    """This process's context. torch is loaded here, in the process that computes, never in a parent.

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
    return _contexts[pid]


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_: Any) -> None:
    _stopping.set()  # in a solo worker the task runs in this very process: let it give its job back
