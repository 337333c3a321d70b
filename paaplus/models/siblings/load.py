"""From a tool's file to the tool: one network is in memory at a time, as a worker may be asked for several of 350 MB.

A tool keeps no network itself. It asks for it by name and file; the last one asked for stays, another takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from PIL import Image
from torch import nn

from paaplus.errors import Unavailable
from paaplus.models.siblings import exposure_net, state
from paaplus.tools import files
from paaplus.tools.exposure_map import ExposureMapTool
from paaplus.tools.tool import Tool

NetworkOf = Callable[[], nn.Module]
_Key = tuple[str, Path, str, str]  # tool, file, its digest, device

_lock = Lock()
_loaded: list[tuple[_Key, nn.Module]] = []


def load_tool(home: Path, name: str, device: str = "cpu") -> Tool:
    """The tool, after its file was read once and found right.

    Raises:
        Unavailable: the file is not there.
        InvalidInput: it is another file than this tool's.
    """
    file = files.find(home, name)
    if file is None:
        raise Unavailable(f"tool {name!r} {files.needs(name)}")
    digest = files.digest(file)
    build_network, build_tool = NETWORKS[name]

    def network() -> nn.Module:
        return _network((name, file, digest, device), build_network)

    network()
    return build_tool(files.TOOL_FILES[name].version(digest), network, device)


def _network(key: _Key, build: Callable[[], nn.Module]) -> nn.Module:
    name, file, _, device = key
    with _lock:
        if _loaded and _loaded[0][0] == key:
            return _loaded[0][1]
        _loaded.clear()
        tensors = state.read(file)
        state.check_is_for(name, tensors, file.name)
        network = state.load(state.empty(build), tensors, file.name).to(device)
        _loaded.append((key, network))
        return network


def _exposure_map(version: str, network: NetworkOf, device: str) -> Tool:
    def compute(image: Image.Image) -> np.ndarray:
        with torch.inference_mode():
            values_HW: np.ndarray = network()(exposure_net.network_input(image).to(device))[0, 0].cpu().numpy()
        return values_HW

    return ExposureMapTool(version, compute)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[str, NetworkOf, str], Tool]]] = {
    "exposure_map": (exposure_net.ExposureNet, _exposure_map),
}
