"""From a tool's files to the tool. A process keeps one network in memory: several of them have 350 MB.

A tool does not hold its network but gets it by name and file. Loading another network replaces the one in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from torch import nn

from paaplus.errors import Unavailable
from paaplus.models.siblings import laion, state
from paaplus.models.siblings.dat import Eat
from paaplus.models.siblings.elta import Elta, modern_names
from paaplus.models.siblings.exposure_net import ExposureNet
from paaplus.models.siblings.icaa import Icaa
from paaplus.models.siblings.mobilenet_lab import LabMobileNet
from paaplus.models.siblings.prompt_det import TEXT_TOWER, PromptDet
from paaplus.models.siblings.tanet import TaNet
from paaplus.models.siblings.tools import BUILDERS
from paaplus.tools import files
from paaplus.tools.tool import Tool

_Key = tuple[str, Path, str, str]  # recipe, file, version of the files, device


@dataclass(frozen=True)
class Recipe:
    """How a file becomes a network. `names`: from the file's names (and its companion's) to the network's."""

    network: Callable[[], nn.Module]
    names: Callable[[state.State, Path | None], state.State] = lambda tensors, _: tensors


def _laion(tensors: state.State, companion: Path | None) -> state.State:
    assert companion is not None, "`files.find` has seen it"
    return laion.names(tensors, state.read(companion))


RECIPES: dict[str, Recipe] = {
    "exposure_map": Recipe(ExposureNet),
    "laion": Recipe(laion.LaionNet, _laion),
    "mnet": Recipe(LabMobileNet),
    "tanet": Recipe(lambda: TaNet(1)),
    "tanet_ava": Recipe(lambda: TaNet(10)),
    "tanet_ava_no_theme": Recipe(lambda: TaNet(10)),
    "eat": Recipe(lambda: Eat(10)),
    "eat_tad66k": Recipe(lambda: Eat(1)),
    "icaa": Recipe(Icaa),
    "prompt_det": Recipe(
        PromptDet, lambda tensors, _: {n: tensor for n, tensor in tensors.items() if not n.startswith(TEXT_TOWER)}
    ),
    "elta": Recipe(Elta, lambda tensors, _: modern_names(tensors)),
    "elta_regression": Recipe(Elta, lambda tensors, _: modern_names(tensors)),
}

_lock = Lock()
_loaded: list[tuple[_Key, nn.Module]] = []


def load_tool(home: Path, name: str, device: str = "cpu") -> Tool:
    """The tool, after its files were read once and found right.

    Raises:
        Unavailable: a file is not there.
        InvalidInput: it is another file than this tool's.
    """
    file, companion, version = files.find(home, name), files.find_companion(home, name), files.version(home, name)
    if file is None or version is None:
        raise Unavailable(f"tool {name!r} {files.needs(name)}")

    def network() -> nn.Module:
        return _network((name, file, version, device), companion)

    network()
    return BUILDERS[name](version, network, device, companion)


def read_network(name: str, file: Path, companion: Path | None = None) -> nn.Module:
    """The network of a file.

    Raises:
        InvalidInput: the file is another tool's, or does not fit; the message says which.
    """
    recipe = RECIPES[name]
    tensors = state.read(file)
    state.check_is_for(name, tensors, file.name)
    return state.load(state.empty(recipe.network), recipe.names(tensors, companion), file.name)


def _network(key: _Key, companion: Path | None) -> nn.Module:
    name, file, _, device = key
    with _lock:
        if _loaded and _loaded[0][0] == key:
            return _loaded[0][1]
        _loaded.clear()
        network = read_network(name, file, companion).to(device)
        _loaded.append((key, network))
        return network
