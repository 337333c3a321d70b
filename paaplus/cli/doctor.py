"""`paaplus doctor`: what is missing or misconfigured, and what to do about it."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import typer
from rich.markup import escape
from rich.table import Table

from paaplus import extras
from paaplus.cli.common import JsonOption, console, print_json
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import PaaplusError
from paaplus.settings import Settings, get_settings

with lazy_imports():
    from paaplus.db import engine, migrate
    from paaplus.queue import jobs
    from paaplus.services.registry import base_models
    from paaplus.storage import blobs
    from paaplus.tools import files

NO_DATABASE = "paaplus up, or set PAAPLUS_HOME to the folder of your deployment"
LOW_DISK_BYTES = 2 * 2**30
# Files of the paper's own model. They are never downloaded (docs/weights.md).
PHYSIQUEFRAME_FILES = ("physiqueframe.pth", "swinv2_base_22k_500k.pth", "smpler_x_s32.pth.tar", "SMPLX_NEUTRAL.npz")


@dataclass(frozen=True)
class Finding:
    """The result of one check, with advice for the operator."""

    what: str
    state: Literal["ok", "note", "problem"]
    detail: str
    advice: str = ""


def doctor(as_json: JsonOption = False) -> None:
    """Check this deployment; exit code 1 if something keeps it from working."""
    findings = [_guarded(check) for check in CHECKS]
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        table = Table(header_style="bold")
        for name in ("", "what", "found", "what to do"):
            table.add_column(name, overflow="fold")  # not cut: it may be a command to copy
        marks = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "problem": "[red]problem[/red]"}
        for f in findings:
            table.add_row(marks[f.state], f.what, escape(f.detail), escape(f.advice))
        console.print(table)
    if any(f.state == "problem" for f in findings):
        raise typer.Exit(1)


def _guarded(check: Callable[[Settings], Finding]) -> Finding:
    """Run a check; an unexpected error is a problem that it found."""
    from sqlalchemy.exc import SQLAlchemyError

    name = check.__name__.strip("_").replace("_", " ")
    try:
        return check(get_settings())
    except ModuleNotFoundError as error:
        lacking = extras.missing(error)
        if lacking is None:
            return Finding(name, "problem", f"{type(error).__name__}: {error}", "see the message")
        return Finding(name, "note", str(lacking), "not needed where only the API or the client runs")
    except (PaaplusError, OSError, ImportError, RuntimeError, SQLAlchemyError) as error:
        advice = engine.DAMAGED if engine.is_damaged(error) else "see the message"
        return Finding(name, "problem", f"{type(error).__name__}: {str(error).splitlines()[0]}", advice)


def _python(_: Settings) -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} in {sys.prefix}")


def _torch(_: Settings) -> Finding:
    import torch

    from paaplus.models.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    return Finding("torch", "ok", f"{torch.__version__}, timm and Avalanche can be imported")


def _device(settings: Settings) -> Finding:
    import torch

    from paaplus.models.device import resolve_device

    device = resolve_device(settings.device)
    if device == "cpu" and settings.device.startswith("cuda"):
        return Finding(
            "device", "note", f"{settings.device} is configured, but there is no CUDA", "check driver and torch build"
        )
    name = torch.cuda.get_device_name(device) if device != "cpu" else f"cpu, {settings.torch_threads} thread(s)"
    return Finding("device", "ok", name)


def _weights_of_lite2(_: Settings) -> Finding:
    from paaplus.models.lite import packaged_weights
    from paaplus.models.lite2 import LITE1, LITE2

    return Finding("weights of lite2", "ok", ", ".join(packaged_weights(variant).name for variant in (LITE1, LITE2)))


def _database(settings: Settings) -> Finding:
    url = settings.resolved_database_url
    if (file := engine.missing_file(url)) is not None:
        return Finding("database", "problem", f"none at {file}", NO_DATABASE)
    current, head = migrate.current(url), migrate.head()
    if current != head:
        return Finding("database", "problem", f"schema {current or 'missing'}, needed {head}", "paaplus db upgrade")
    return Finding("database", "ok", f"{_place(url)}, schema {head}")


def _place(url: str) -> str:
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return f"sqlite, {parsed.database}"
    return f"{parsed.get_backend_name()} on {parsed.host}"


def _storage(settings: Settings) -> Finding:
    probe = b"paaplus doctor"
    if not settings.storage_url and not (folder := settings.home.absolute() / "blobs").exists():
        return Finding("storage", "note", f"no folder {folder} yet", "the first image makes it, or `paaplus up`")
    store = blobs.BlobStore(settings.resolved_storage_url)
    sha256 = store.put(probe)
    found = store.get(sha256)
    store.delete(sha256)
    if found != probe:
        return Finding("storage", "problem", "the storage returned other bytes than were written", "check the storage")
    return Finding("storage", "ok", settings.resolved_storage_url.split("://")[0] + ", writable")


def _disk(settings: Settings) -> Finding:
    folder = settings.home if settings.home.exists() else Path()
    free = shutil.disk_usage(folder).free
    if free < LOW_DISK_BYTES:
        return Finding("disk", "note", f"{free / 2**30:.1f} GiB free", "free some space, or move PAAPLUS_HOME")
    return Finding("disk", "ok", f"{free / 2**30:.0f} GiB free")


def _broker(settings: Settings) -> Finding:
    if not settings.broker_url:
        return Finding("broker", "ok", f"folder {settings.broker_folder}")
    parts = urlsplit(settings.broker_url)
    address = (parts.hostname or "localhost", parts.port or (5672 if parts.scheme.startswith("amqp") else 6379))
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError as error:
        return Finding(
            "broker",
            "problem",
            f"{address[0]}:{address[1]}: {error}",
            "start it; until then feedback is stored and not trained",
        )
    return Finding("broker", "ok", f"{parts.scheme} on {address[0]}:{address[1]}")


def _base_model(settings: Settings) -> Finding:
    if engine.missing_file(settings.resolved_database_url) is not None:
        return Finding("base model", "problem", "no database", NO_DATABASE)
    database = engine.Database(settings.resolved_database_url)
    try:
        with database.read_session() as session:
            row = base_models.find_default(session, settings)
    finally:
        database.dispose()
    if row is None:
        return Finding(
            "base model", "problem", "none", "paaplus up (the starter), or paaplus base-models train lite2 --data DIR"
        )
    return Finding("base model", "ok", f"{row.name}@{row.version} scoring {', '.join(row.aspects)}, {row.digest[:12]}")


def _queue(settings: Settings) -> Finding:
    if engine.missing_file(settings.resolved_database_url) is not None:
        return Finding("queue", "problem", "no database", NO_DATABASE)
    database = engine.Database(settings.resolved_database_url)
    try:
        with database.read_session() as session:
            ready = jobs.count_ready(session)
    finally:
        database.dispose()
    waiting = sum(ready.values())
    if waiting:
        return Finding("queue", "note", f"{waiting} job(s) ready and waiting", "is a worker running? paaplus up")
    return Finding("queue", "ok", "no job waits for a worker")


def _holdout_key(settings: Settings) -> Finding:
    if settings.holdout_key == Settings.model_fields["holdout_key"].default:
        return Finding(
            "hold-out key",
            "note",
            "the public default",
            "set PAAPLUS_HOLDOUT_KEY to a secret before the first user, so that nobody can compute what is held out",
        )
    return Finding("hold-out key", "ok", "a secret of this deployment")


def _smplx(_: Settings) -> Finding:
    if importlib.util.find_spec("smplx") is None:
        return Finding(
            "smplx",
            "note",
            "not installed",
            "optional, non-commercial licence: pip install 'paaplus[body]'",
        )
    return Finding("smplx", "ok", "installed (non-commercial licence: docs/licences.md)")


def _physiqueframe_files(settings: Settings) -> Finding:
    folder = settings.home / "weights"
    missing = [name for name in PHYSIQUEFRAME_FILES if not (folder / name).exists()]
    if missing:
        return Finding(
            "PhysiqueFrame files",
            "note",
            f"not in {folder}: {', '.join(missing)}",
            "only for that model: docs/weights.md",
        )
    return Finding("PhysiqueFrame files", "ok", str(folder))


def _tool_files(settings: Settings) -> Finding:
    """Which tools have their file, and whether it is the one that was tested."""
    found = {name: file for name in files.TOOL_FILES if (file := files.find(settings.home, name)) is not None}
    if not found:
        names = ", ".join(files.TOOL_FILES)
        return Finding("tool files", "note", f"none in {settings.home / files.FOLDER}", f"for {names}: docs/weights.md")
    told = []
    for name, file in found.items():
        known = files.TOOL_FILES[name].sha256
        word = "not tested with an official file" if known is None else "the official file"
        if known is not None and files.digest(file) != known:
            word = f"not the official file: sha256 {files.digest(file)[:12]}, known {known[:12]}"
        told.append(f"{name}: {word}")
    missing = [name for name in files.TOOL_FILES if name not in found]
    state: Literal["ok", "note"] = "note" if any("not the official" in one for one in told) else "ok"
    return Finding(
        "tool files", state, "; ".join(told), f"for {', '.join(missing)}: docs/weights.md" if missing else ""
    )


CHECKS: tuple[Callable[[Settings], Finding], ...] = (
    _python,
    _torch,
    _device,
    _weights_of_lite2,
    _database,
    _storage,
    _disk,
    _broker,
    _base_model,
    _queue,
    _holdout_key,
    _smplx,
    _physiqueframe_files,
    _tool_files,
)
