"""What values of settings may be: addresses, URLs, devices. Checked when a process starts, not at their first use.

No message has the value, which may be a secret.
"""

from __future__ import annotations

import ipaddress
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from paaplus.errors import InvalidInput
from paaplus.texts import checked_id

OWN_PATHS = frozenset({"v1", "studio", "docs", "openapi.json", "healthz", "readyz", "metrics"})
# As kombu calls them, in small letters; importing it takes a command 0.2 s.
BROKERS = frozenset(
    {"amqp", "amqps", "azureservicebus", "azurestoragequeues", "confluentkafka", "consul", "etcd", "filesystem",
     "gcpubsub", "kafka", "librabbitmq", "memory", "mongodb", "pgmq", "pyamqp", "pyro", "qpid", "redis", "rediss",
     "sentinel", "slmq", "sqla", "sqlalchemy", "sqs", "zookeeper"}
)  # fmt: skip
_SERVED = frozenset({"amqp", "amqps", "pyamqp", "redis", "rediss", "sentinel"})  # a server of this address
STORAGES = frozenset({"file", "s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "https"})

_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@]+/?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?")
_DATABASE = re.compile(r"(sqlite|postgresql|postgres)(\+[a-z0-9_]+)?:")
_IN_MEMORY = re.compile(r"[a-z0-9+]+:(/{0,3}|///:memory:)(\?.*)?")
# As SQLAlchemy divides a URL: a password ends at its first `@`.
_ADDRESS = re.compile(r"[^:/]+://(?:[^:/]*(?::[^@]*)?@)?(?P<place>[^?]*)")
_MODEL = re.compile(r"[^\s@]+(@[0-9]{1,9})?")
# Kubernetes gives every container the address of a service: one that is called paaplus makes these.
_SERVICE_LINK = re.compile(r"PAAPLUS_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)?)")

FAULT_STOP: Final = ":stop"  # PAAPLUS_FAULT=POINT:stop pauses the process (SIGSTOP) instead of killing it
FAULT_FROM_FILE: Final = "@"  # PAAPLUS_FAULT=@FILE: the file names the point; it can be written while the process runs
FAULT_POINTS: Final = (
    "job_claimed",  # a worker has claimed a job, and done nothing else
    "trained",  # a candidate was computed; nothing of it, nor of those committed with it, is written
    "old_version_retired",  # in the transaction that moves pointers: no version is active
    "version_written",  # in the transaction of trainings: their versions are written, the history is not
    "training_uncommitted",  # everything of trainings is written, but not committed
    "training_committed",  # trainings are committed; the worker has not logged them
    "features_stored",  # one batch of features is committed; its job is not complete
    "labels_stored",  # one batch of pseudo labels is committed; its job is not complete
    "jobs_enqueued",  # a scan has enqueued due users; no worker was woken up
    "feedback_uncommitted",  # events are appended, but not committed
    "feedback_committed",  # events are committed; the caller has no answer
    "pointer_moved",  # a rollback, promotion or pin is written, but not committed
    "user_files_deleted",  # an erasure has deleted the files, but is not committed
)


def expanded(path: Path) -> Path:
    """A path with `~` as the home of a user: only a shell replaces it, and systemd, compose and `.env` have none."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error


def home_folder(path: Path) -> Path:
    """A folder that is there or can be made. Its path becomes part of URLs, which are UTF-8."""
    path = expanded(path)
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{str(path)!r} is not UTF-8: rename the folder, or choose another") from None
    if path.exists() and not path.is_dir():
        raise ValueError(f"{str(path)!r} is a file; a folder is needed")
    return path


def listening_host(host: str) -> str:
    """A name or an address. An address of IPv6 as it stands in a URL, `[::1]`, is the address `::1`."""
    if host.startswith("[") and host.endswith("]") and ":" in host:
        host = host[1:-1]
    if ":" in host:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError("is no address; a port is given by PAAPLUS_API_PORT") from None
    elif not _HOST.fullmatch(host):
        raise ValueError("is neither a host's name nor an address")
    return host


def path_prefix(prefix: str) -> str:
    """A path prefix without a slash at its end; it must not look like the beginning of one of our own paths."""
    prefix = prefix.rstrip("/")
    if prefix and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", prefix):
        raise ValueError(f"{prefix!r:.80} is no path like /paaplus")
    if prefix.split("/")[1:2] and prefix.split("/")[1] in OWN_PATHS:
        raise ValueError(f"{prefix!r} begins as a path of the platform itself")
    return prefix


def origins(value: str) -> str:
    """An origin with a path, or without a scheme, would never be the one that a browser names."""
    for number, origin in enumerate(map(str.strip, value.split(",")), start=1):
        if origin not in ("", "*") and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"entry {number} is no origin, such as https://app.example or http://localhost:5173")
    return value


def device(value: str) -> str:
    """The form of a device. Whether the machine has it is looked at where torch is loaded."""
    if not _DEVICE.fullmatch(value):
        raise ValueError("is no device: auto, cpu, cuda or cuda:N")
    return value


def database_url(value: str) -> str:
    """The kind of a database."""
    if not value:
        return value
    if not _DATABASE.match(value):
        raise ValueError("is no URL of a database; it begins with sqlite:/// or postgresql://")
    if not value.startswith("sqlite"):
        _require_encoded(value)
    elif _IN_MEMORY.fullmatch(value):
        raise ValueError("is a database in memory, of which each process would have its own; name a file")
    elif "?" in value and not all("=" in option for option in value.partition("?")[2].split("&")):
        raise ValueError("has a '?' that begins no options; a file with '?' in its path cannot stand in a URL")
    return value


def _require_encoded(url: str) -> None:
    """A password with `@` would end early: its rest would be taken for the host, and be told in errors."""
    if (match := _ADDRESS.match(url)) is not None and "@" in match["place"]:
        raise ValueError("has an '@' in a name or password: write it as %40, and likewise / as %2F and : as %3A")


def broker_url(value: str) -> str:
    """The URL of a broker, or several with semicolons: the next is taken when one does not answer."""
    for each in filter(None, value.split(";")):
        scheme = _scheme(each, BROKERS, "broker", "redis://host:6379/0")
        if scheme in _SERVED and "+" not in each.partition(":")[0] and not _has_host(each):
            raise ValueError("is no URL of a broker: it has no host, such as redis://host:6379/0")
    return value


def storage_url(value: str) -> str:
    """The URL of a storage."""
    if value:
        scheme = _scheme(value, STORAGES, "storage", "s3://bucket/prefix or file:///folder")
        if scheme == "file" and not value.startswith("file:///"):
            raise ValueError("is no URL of a folder: file:///folder")
    return value


def model_name(value: str) -> str:
    """NAME or NAME@VERSION."""
    if value and not _MODEL.fullmatch(value):
        raise ValueError("is no name of a base model: NAME or NAME@VERSION")
    return value


def aspect(value: str) -> str:
    """The name of an aspect."""
    try:
        return checked_id(value, 64, "the aspect")
    except InvalidInput as error:
        raise ValueError(str(error)) from None


def fault(value: str) -> str:
    """The name of a fault point, perhaps to stop at it; or where a file will name one."""
    if value and not value.startswith(FAULT_FROM_FILE) and value.removesuffix(FAULT_STOP) not in FAULT_POINTS:
        raise ValueError(f"is no fault point; known: {', '.join(FAULT_POINTS)}")
    return value


def misspelled(names: list[str], known: list[str]) -> dict[str, str]:
    """Variables that are not known but look like one that is, with that one."""
    found: dict[str, str] = {}
    for name in names:
        if name not in known and not _SERVICE_LINK.fullmatch(name):
            given, choice = name.removeprefix("PAAPLUS_"), [k.removeprefix("PAAPLUS_") for k in known]
            # Two letters that changed places make a short name look like another one.
            close = [k for k in choice if sorted(k) == sorted(given)] or get_close_matches(given, choice, 1, 0.8)
            found |= {name: f"PAAPLUS_{close[0]}"} if close else {}
    return found


def _scheme(url: str, known: frozenset[str], what: str, example: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # read for its check
    except ValueError:
        raise ValueError(f"is no URL of a {what}: its host or port cannot be read") from None
    scheme = parts.scheme.partition("+")[0]
    if scheme not in known:
        raise ValueError(f"is no URL of a {what}, such as {example}")
    return scheme


def _has_host(url: str) -> bool:
    return bool(urlsplit(url).hostname)
