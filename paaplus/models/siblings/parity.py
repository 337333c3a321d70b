"""The networks on a parity fixture: `function(weights, inputs, case)` gives the arrays that the fixture stores.

A folder of a fixture holds a `verify.py`, which makes weights from key names, inputs from seeds, and compares. What it
calls is here, one function a network, by the folder's name in `FUNCTIONS`. Switches that bring back how an image's
result depends on its batch in the official code are given here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paaplus.models.siblings import state
from paaplus.models.siblings.dat import Eat, Trunk
from paaplus.models.siblings.elta import Elta, modern_names
from paaplus.models.siblings.exposure_net import ExposureNet
from paaplus.models.siblings.icaa import Icaa
from paaplus.models.siblings.mobilenet_lab import LabMobileNet
from paaplus.models.siblings.prompt_det import PAIRS, PromptDet
from paaplus.models.siblings.tanet import TaNet
from paaplus.scoring.levels import expected_level, level_shares
from paaplus.tools.laion import collapse
from paaplus.tools.nima import BINS_N

Arrays = Mapping[str, Any]
Function = Callable[[Arrays, Arrays, str], dict[str, np.ndarray]]


def one_by_one(function: Function) -> Function:
    """As tools call a network: one image at a time, unless a switch asks for the images of a batch together."""

    @wraps(function)
    def call(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
        images = inputs["image"]
        if len(images) == 1 or inputs.get("shared_reference") or inputs.get("theme") == "batch":
            return function(weights, inputs, case)
        parts = [function(weights, {**inputs, "image": images[i : i + 1]}, case) for i in range(len(images))]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return call


def p_ieanet(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
    network = _filled(ExposureNet, weights)
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        map_B1HW = network(torch.from_numpy(inputs["image"]), bool(inputs["batch_attention"]), seen)
    arrays = {name: tensor[0].numpy() for name, tensor in seen.items()}
    return arrays | {"map": map_B1HW[0, 0].numpy(), "lightness": arrays["lightness"][0]}


@one_by_one
def nima_attack(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
    network = _filled(LabMobileNet, weights)
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        share_BN = torch.softmax(network(torch.from_numpy(inputs["image"]), bool(inputs["whole_map"]), seen), 1).numpy()
    return {
        "output": share_BN,
        "score": share_BN @ BINS_N,
        "map": seen["map"].numpy()[:, ::32],
        "block3": seen["block3"].numpy()[:, ::8, ::8, ::8],
    }


@one_by_one
def tanet(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
    network = _filled(lambda: TaNet(len(weights["head.2.weight"])), weights)
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        output = network.outputs(network(torch.from_numpy(inputs["image"]), inputs["theme"], seen))
    arrays = {name: tensor.numpy() for name, tensor in seen.items()} | {"output": output.numpy()}
    arrays["scene_logits"] = arrays["scene_logits"][:, ::5]
    arrays["mobile_features"] = arrays["mobile_features"][:, ::16]
    return arrays


@one_by_one
def eat(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
    return _transformer(lambda: Eat(len(weights["cls_head.weight"])), weights, inputs)


@one_by_one
def icaa_det(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
    return _transformer(Icaa, weights, inputs)


@one_by_one
def prompt_det(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
    network = _filled(PromptDet, weights)
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        output = network(torch.from_numpy(inputs["image"]), seen=seen).numpy()
        pairs = [network.share(seen["clip_feature"], torch.from_numpy(text)) for text in inputs["texts"]]
    share_BP = torch.stack(pairs, 1).numpy()
    score_BP = [[pair.score(float(share)) for pair, share in zip(PAIRS, row, strict=False)] for row in share_BP]
    return {
        "output": output,
        "shares": share_BP,
        "sub_scores": np.array(score_BP),
        "clip_feature": seen["clip_feature"].numpy(),
        "adapted": seen["adapted"].numpy(),
        "features": seen["features"].numpy(),
        "clip_map": seen["clip_map"].numpy()[:, ::64],
    }


@one_by_one
def elta(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
    network = _filled(Elta, weights, modern_names)
    with torch.inference_mode(), _means_on_the_way(_elta_parts(network)) as mean_of:
        features_BD = network.features(torch.from_numpy(inputs["image"]))
        logit_BN = network.linear_emd(features_BD)
        regression_B = torch.sigmoid(network.linear_mse(features_BD))[:, 0]
    share_BN = torch.softmax(logit_BN, 1).numpy()
    return {
        "features": features_BD.numpy(),
        "logits": logit_BN.numpy(),
        "distribution": share_BN,
        "score": share_BN @ BINS_N,
        "regression": regression_B.numpy(),
        **{f"{name}_mean": mean_BD.numpy() for name, mean_BD in mean_of.items()},
    }


def _elta_parts(network: Elta) -> dict[str, torch.nn.Module]:
    """What gives the tokens at the end of each stage; timm 0.6 had a stage's down-sampling there."""
    first, *later = network.vit.layers
    downs = {f"stage{number}": layer.downsample for number, layer in enumerate(later)}
    return {"stem": network.vit.patch_embed, **downs, f"stage{len(later)}": [first, *later][-1]}


@contextmanager
def _means_on_the_way(parts: Mapping[str, torch.nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Means over rows and columns of what the parts give, (B, D), by the names of the parts."""
    mean_of: dict[str, Tensor] = {}

    def keep(name: str, _part: torch.nn.Module, _inputs: object, x_BHWD: Tensor) -> None:
        mean_of[name] = x_BHWD.mean((1, 2))

    with ExitStack() as stack:
        for name, part in parts.items():
            stack.enter_context(part.register_forward_hook(partial(keep, name)))
        yield mean_of


def laion_head(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
    head = collapse(weights)
    score_B = np.array([head.raw_score(embedding_D) for embedding_D in inputs["embedding"]])
    return {"score": score_B, "vector": head.vector_D, "bias": np.array([head.bias])}


def ntire_levels(weights: Arrays, inputs: Arrays, case: str) -> dict[str, np.ndarray]:
    """No network of that system is here: its reading of five levels, which any question of five answers can use."""
    shares = [level_shares(logit_V5[:-1], logit_V5[-1]) for logit_V5 in inputs["logits"]]
    return {"levels": np.array(shares), "score": np.array([expected_level(share_5) for share_5 in shares])}


def _transformer(build: Callable[[], Trunk], weights: Arrays, inputs: Arrays) -> dict[str, np.ndarray]:
    network = _filled(build, weights)
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        output = network(torch.from_numpy(inputs["image"]), bool(inputs["shared_reference"]), seen)
    arrays = {name: tensor.numpy() for name, tensor in seen.items()}
    sampled = {"output": output.numpy()} | {
        name: arrays[name] for name in ("features", "hst", "hist") if name in arrays
    }
    for name, step in (("stem", 8), ("stage0", 8), ("stage1", 8), ("attn_s0b0", 8), ("attn_s0b1", 8)):
        sampled[name] = arrays[name][:, ::16, ::step, ::step]
    for name, step in (("stage2", 4), ("attn_s2b1", 4), ("stage3", 3)):
        sampled[name] = arrays[name][:, ::16, ::step, ::step]
    sampled["pos_s2b1"] = arrays["pos_s2b1"][:, :, ::2, ::2]
    sampled["ref_s2b1"] = arrays["ref_s2b1"][:, ::2, ::2]
    return sampled


def _filled(
    build: Callable[[], torch.nn.Module], weights: Arrays, names: Callable[[state.State], state.State] = dict
) -> torch.nn.Module:
    """The network with these weights; the last one again for the very same arrays, given with another image or case."""
    if _last and _last[0].keys() == weights.keys() and all(_last[0][name] is weights[name] for name in weights):
        return _last[1]
    _last.clear()
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    network = state.load(state.empty(build), names(tensors), "fixture")
    _last[:] = [dict(weights), network]
    return network


_last: list[Any] = []  # weights, and the network that has them


FUNCTIONS: dict[str, Function] = {
    "p_ieanet": p_ieanet,
    "nima_attack": nima_attack,
    "tanet": tanet,
    "eat": eat,
    "icaa_det": icaa_det,
    "prompt_det": prompt_det,
    "elta": elta,
    "laion_head": laion_head,
    "ntire_levels": ntire_levels,
}
