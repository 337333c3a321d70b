"""The networks on a parity fixture: `function(weights, inputs, case)` gives the arrays that the fixture stores.

A folder of a fixture holds a `verify.py`, which makes weights from key names, inputs from seeds, and compares. What it
calls is here, one function a network, by the folder's name in `FUNCTIONS`. Switches that bring back how an image's
result depends on its batch in the official code are given here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paaplus.models.siblings import state
from paaplus.models.siblings.exposure_net import ExposureNet

Arrays = Mapping[str, Any]
Function = Callable[[Arrays, Arrays, str], dict[str, np.ndarray]]


def p_ieanet(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
    network = _filled(ExposureNet(), weights)
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        map_B1HW = network(torch.from_numpy(inputs["image"]), bool(inputs["batch_attention"]), seen)
    arrays = {name: tensor[0].numpy() for name, tensor in seen.items()}
    return arrays | {"map": map_B1HW[0, 0].numpy(), "lightness": arrays["lightness"][0]}


def _filled(network: torch.nn.Module, weights: Arrays) -> torch.nn.Module:
    return state.load(network, {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}, "fixture")


FUNCTIONS: dict[str, Function] = {
    "p_ieanet": p_ieanet,
}
