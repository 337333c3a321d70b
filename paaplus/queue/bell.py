"""The bell: tells workers at once that a job was enqueued. A lost ring costs one scan interval and nothing else.

PostgreSQL delivers a ring when the transaction commits. With SQLite all processes are on one host: a ring renews the
time of a file beside the database, after the commit, and listeners watch the folder.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

from paaplus.queue.folder_watch import FolderWatch

CHANNEL: Final = "paaplus_jobs"
NOTICE_S: Final = 1.0  # the longest time after which a listener sees that it should stop
RECONNECT_S: Final = 5.0
PAUSE_S: Final = 0.1  # after a ring: what rings meanwhile is told together, and trained together, which is cheaper

log = structlog.get_logger(__name__)


def ring(session: Session, queue: str) -> None:
    """Ring when this transaction has committed, for a job that it has enqueued."""
    bind = session.get_bind()
    if bind.dialect.name == "postgresql":
        session.execute(sa.select(sa.func.pg_notify(CHANNEL, queue)))
        return
    file = _file(bind.engine.url, queue)
    if file is not None and not session.info.setdefault("bell", set()) & {file}:
        session.info["bell"].add(file)
        event.listen(session, "after_commit", lambda _: _touch(file), once=True)


def rings(url: str, queues: list[str], stopping: threading.Event) -> Iterator[str]:
    """The queues of rings, as they come, until `stopping` is set. Several rings may be told as one."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        yield from _notices(parsed, queues, stopping)
    else:
        yield from _touches(parsed, queues, stopping)


def _file(url: URL, queue: str) -> Path | None:
    database = url.database
    return Path(f"{database}-bell-{queue}") if database and database != ":memory:" else None


def _touch(file: Path) -> None:
    try:
        file.touch()
        os.utime(file)
    except OSError as error:  # the disk may be full: the next scan finds the job
        log.warning("bell not rung", error=str(error))


def _touches(url: URL, queues: list[str], stopping: threading.Event) -> Iterator[str]:
    files = {queue: file for queue in queues if (file := _file(url, queue)) is not None}
    if not files:
        return
    with FolderWatch(next(iter(files.values())).absolute().parent) as folder:
        seen = {queue: _time_of(file) for queue, file in files.items()}
        while not stopping.is_set():
            folder.wait(NOTICE_S)
            times = {queue: _time_of(file) for queue, file in files.items()}
            rung = [queue for queue, time in times.items() if time != seen[queue]]
            seen = times
            yield from rung
            if rung:
                stopping.wait(PAUSE_S)


def _time_of(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _notices(url: URL, queues: list[str], stopping: threading.Event) -> Iterator[str]:
    import psycopg  # only a worker on PostgreSQL needs it here

    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    while not stopping.is_set():
        try:
            with psycopg.connect(plain, autocommit=True) as connection:
                connection.execute(f"LISTEN {CHANNEL}")
                while not stopping.is_set():
                    heard = {notice.payload for notice in connection.notifies(timeout=NOTICE_S, stop_after=1)}
                    yield from (queue for queue in queues if queue in heard)
        except psycopg.Error as error:
            log.warning("no bell: the database does not answer", error=type(error).__name__)
            stopping.wait(RECONNECT_S)
