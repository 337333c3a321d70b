"""The AI tools of a deployment: their versions, and which aspects of the base model they label."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open
from sqlalchemy.orm import Session

from paaplus.errors import InvalidInput, Unavailable
from paaplus.ids import sha256_hex
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from paaplus.tools import files, precomputed
from paaplus.tools.nima import NimaTool, read_head
from paaplus.tools.registry import AI_TOOLS, ToolContext, build

NETWORK_TENSORS = 8  # a file with more tensors holds a whole network, not only a head


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """One tool. `labels`: the aspects of the base model among its aspects."""

    name: str
    version: str | None
    aspects: tuple[str, ...]
    labels: tuple[str, ...]
    needs: str | None
    unavailable: str | None  # why it cannot run here


def list_tools(session: Session, blobs: BlobStore, settings: Settings) -> list[ToolInfo]:
    """All tools; a tool that cannot run here has the reason in `unavailable`."""
    row = base_models.find_default(session, settings)
    base_aspects = tuple(row.aspects) if row is not None else ()
    context = ToolContext(base=base_models.load(blobs, row) if row is not None else None)
    digest = row.extractor_digest if row is not None else None
    infos = []
    for name in AI_TOOLS:
        try:
            if name == "nima":
                infos.append(_nima_info(settings, digest, base_aspects))
                continue
            if name in files.TOOL_FILES:
                infos.append(_file_info(settings, name, base_aspects))
                continue
            tool = build(name, context)
        except (InvalidInput, Unavailable) as error:
            infos.append(ToolInfo(name, None, (), (), None, str(error)))
            continue
        labels = tuple(aspect for aspect in tool.aspects if aspect in base_aspects)
        infos.append(ToolInfo(name, tool.version, tool.aspects, labels, tool.need.value, None))
    return infos


def check_exists(name: str) -> None:
    """Check that there is a tool of this name, or that labels may have been imported under it.

    Raises:
        InvalidInput: there is none.
    """
    if name not in AI_TOOLS and not precomputed.is_name(name):
        raise InvalidInput(f"tool {name!r:.80} does not exist; known: {', '.join(AI_TOOLS)}, {precomputed.NAME}:SOURCE")


def check_runnable(names: list[str], settings: Settings) -> None:
    """Check that tools exist, are named once, and can run in this deployment.

    Raises:
        InvalidInput: a tool does not; the message names the first.
    """
    if not names or len(set(names)) != len(names):
        raise InvalidInput(f"tools {names}: one or more, none twice")
    for name in names:
        if name not in AI_TOOLS:
            raise InvalidInput(f"tool {name!r:.80} does not exist; known: {', '.join(AI_TOOLS)}")
        if name == precomputed.NAME:
            build(name, ToolContext())
        if name == "nima" and settings.nima_file is None:
            raise InvalidInput("tool 'nima' needs a file with a head: set PAAPLUS_NIMA_FILE")
        if name in files.TOOL_FILES and files.find(settings.home, name) is None:
            raise InvalidInput(f"tool {name!r} {files.needs(name)}")


def is_whole_network(file: Path) -> bool:
    """Whether a NIMA file holds a whole network, or only a head. A file that is not safetensors holds a network."""
    if file.suffix != ".safetensors":
        return True
    try:
        with safe_open(file, framework="np") as tensors:
            return len(tensors.keys()) > NETWORK_TENSORS
    except (OSError, SafetensorError) as error:
        raise InvalidInput(f"NIMA file {file.name}: {str(error)[:200]}") from error


def nima_head(settings: Settings, extractor_digest: str) -> NimaTool:
    """The configured NIMA head, which takes the base model's features.

    Raises:
        InvalidInput: the file is not a head.
    """
    assert settings.nima_file is not None, "the caller checks this"
    return NimaTool(read_head(settings.nima_file), settings.nima_aspect, extractor_digest)


def _nima_info(settings: Settings, extractor_digest: str | None, base_aspects: tuple[str, ...]) -> ToolInfo:
    file, aspect = settings.nima_file, settings.nima_aspect
    labels = (aspect,) if aspect in base_aspects else ()
    if file is None:
        raise Unavailable("tool 'nima' needs a file with a head: set PAAPLUS_NIMA_FILE")
    if is_whole_network(file):
        return ToolInfo("nima", _file_digest(file, file.stat().st_mtime_ns)[:12], (aspect,), labels, "pixels", None)
    if extractor_digest is None:
        raise Unavailable("tool 'nima' needs a base model whose features its head is for")
    tool = nima_head(settings, extractor_digest)
    return ToolInfo("nima", tool.version, tool.aspects, labels, tool.need.value, None)


def _file_info(settings: Settings, name: str, base_aspects: tuple[str, ...]) -> ToolInfo:
    version, aspects = files.version(settings.home, name), files.aspects(settings.home, name)
    if version is None:
        return ToolInfo(name, None, aspects, (), "pixels", files.needs(name))
    labels = tuple(aspect for aspect in aspects if aspect in base_aspects)
    return ToolInfo(name, version, aspects, labels, "pixels", None)


@lru_cache(maxsize=4)
def _file_digest(file: Path, _changed_at_ns: int) -> str:
    return sha256_hex(file.read_bytes())
