"""Logs: one JSON object per line on standard error, with ids, without request bodies, keys or values of rows."""

from __future__ import annotations

import logging
import sys

import structlog

# These loggers write every message, tick or request; our own loggers write what matters of it. Pillow logs the metadata
# of uploads, with locations and names; the multipart reader logs parts of request bodies.
CHATTY = ("alembic", "celery.worker.strategy", "celery.app.trace", "celery.beat", "httpx2", "PIL", "python_multipart")

# `uvicorn paaplus.api.app:app` gives these loggers handlers that write plain text.
WITH_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


def configure(level: str) -> None:
    """Make structlog and the standard library (uvicorn, Celery, SQLAlchemy) write the same lines.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    root = logging.getLogger()
    if root.handlers:  # the embedding application has configured logging already
        return
    root.setLevel(level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root.addHandler(handler)
    for name in WITH_OWN_HANDLERS:
        theirs = logging.getLogger(name)
        theirs.handlers.clear()
        theirs.propagate = True
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
