"""The command lines of the platform's processes (API, worker, scheduler), and addresses that they listen on."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Sequence

from paaplus.errors import Unavailable

_PYTHON = [sys.executable, "-m"]
_CELERY = [*_PYTHON, "celery", "--quiet", "-A", "paaplus.workers.app"]  # quiet: no banner of plain text in the log
QUIET = ["--loglevel", "WARNING"]


def api_command(num_processes: int = 1, *, waits: bool = False) -> list[str]:
    """The API; host and port come from the settings of its environment.

    Args:
        num_processes: that share the port.
        waits: it serves when a line comes on its standard input.
    """
    return [*_PYTHON, "paaplus.api", "--workers", str(num_processes), *(["--wait"] if waits else [])]


def worker_command(
    queues: Sequence[str], *, pool: str, concurrency: int = 1, name: str | None = None, more: Sequence[str] = ()
) -> list[str]:
    """A Celery worker.

    Args:
        queues: `cpu`, `gpu` or both.
        pool: `prefork` trains in child processes; `solo` trains in the worker process itself.
        concurrency: child processes of a prefork pool; a solo pool has none.
        name: the node's name, unique in a deployment; None: `celery@HOST`.
        more: further options of `celery worker`.
    """
    command = [*_CELERY, "worker", "-Q", ",".join(queues), "-P", pool, "-c", str(concurrency)]
    return [*command, *(("-n", name) if name else ()), *more]


def scheduler_command(more: Sequence[str] = ()) -> list[str]:
    """Celery beat, which asks for the scan. It writes no PID file: several may run on one machine.

    Args:
        more: further options of `celery beat`.
    """
    return [*_CELERY, "beat", "--pidfile", "", *more]


def url_of(host: str, port: int) -> str:
    """The URL of a server; an IPv6 address is written in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def usable_port(host: str, port: int) -> int:
    """The port, if a server can listen on it; 0 chooses a free one.

    Args:
        host: a name, or an address of IPv4 or IPv6.

    Raises:
        Unavailable: the host has no address here, or the port is taken.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise Unavailable(
            f"cannot listen on {where}: {error.strerror}; choose another address with PAAPLUS_API_HOST"
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            is_taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
            advice = "choose another with --port" if is_taken else "choose another address with PAAPLUS_API_HOST"
            raise Unavailable(f"cannot listen on {where}: {error.strerror}; {advice}") from error
        chosen: int = probe.getsockname()[1]
        return chosen
