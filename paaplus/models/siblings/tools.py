"""From a network to its tool: how the network's outputs become scores and confidences.

The confidence of a network with ten bins comes from their spread. All other networks have `GUESSED_CONFIDENCE` until
reviews calibrate the tool.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from paaplus.errors import InvalidInput
from paaplus.models.extractor import Preprocessing
from paaplus.models.siblings import exposure_net, laion
from paaplus.models.siblings.elta import PREPROCESSING as ELTA_PREPROCESSING
from paaplus.models.siblings.prompt_det import EMBEDDING_DIM, PAIRS
from paaplus.records import SCORE_MAX
from paaplus.tools.exposure_map import ExposureMapTool
from paaplus.tools.network import GUESSED_CONFIDENCE, NetworkTool
from paaplus.tools.nima import BINS_N, of_logits
from paaplus.tools.tool import Judgement, Tool, on_scale, within_width

NetworkOf = Callable[[], nn.Module]
Builder = Callable[[str, NetworkOf, str, Path | None], Tool]

BIAS_CONFIDENCE = within_width(3.0)  # of a score that is the network's bias only


def _imagenet(side_px: int, interpolation: str = "bilinear") -> Preprocessing:
    return Preprocessing(
        width_px=side_px,
        height_px=side_px,
        interpolation=interpolation,
        mean_rgb=ELTA_PREPROCESSING.mean_rgb,
        std_rgb=ELTA_PREPROCESSING.std_rgb,
        root_features=False,
    )


# As it comes: 0-1, and the larger of the two sizes that the attack was published with.
MNET_PREPROCESSING = Preprocessing(256, 256, "bilinear", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0), False)
IMAGENET_224, IMAGENET_224_BICUBIC = _imagenet(224), _imagenet(224, "bicubic")


def _tool(name: str, version: str, aspects: tuple[str, ...], judge: Callable[[Image.Image], Judgement]) -> NetworkTool:
    def judged(image: Image.Image) -> Judgement:
        with torch.inference_mode():
            return judge(image)

    return NetworkTool(name, version, aspects, judged)


def _numbers(tensor: Tensor) -> np.ndarray:
    """The one image's numbers, float64.

    Raises:
        InvalidInput: they are not finite.
    """
    array = tensor[0].double().cpu().numpy()
    if not np.isfinite(array).all():
        raise InvalidInput("the network gives numbers that are not finite")
    return array


def _guess(**scores: float) -> Judgement:
    return Judgement(scores, dict.fromkeys(scores, GUESSED_CONFIDENCE))


def _bins(logits: Tensor) -> Judgement:
    score, confidence = of_logits(_numbers(logits))
    return Judgement({"aesthetics": score}, {"aesthetics": confidence})


def _exposure_map(version: str, network: NetworkOf, device: str, _: Path | None) -> Tool:
    def compute(image: Image.Image) -> np.ndarray:
        with torch.inference_mode():
            values_HW: np.ndarray = network()(exposure_net.network_input(image).to(device))[0, 0].cpu().numpy()
        return values_HW

    return ExposureMapTool(version, compute)


def _mnet(version: str, network: NetworkOf, device: str, _: Path | None) -> Tool:
    def judge(image: Image.Image) -> Judgement:
        return _bins(network()(MNET_PREPROCESSING.pixels(image).to(device)))

    return _tool("mnet", version, ("aesthetics",), judge)


def _tanet(name: str, theme: str, version: str, network: NetworkOf, device: str, _: Path | None) -> Tool:
    def judge(image: Image.Image) -> Judgement:
        logits = network()(IMAGENET_224.pixels(image).to(device), theme)
        if logits.shape[1] > 1:
            return _bins(logits)
        return _guess(aesthetics=SCORE_MAX * float(_numbers(torch.sigmoid(logits))[0]))

    return _tool(name, version, ("aesthetics",), judge)


def _eat(version: str, network: NetworkOf, device: str, _: Path | None) -> Tool:
    def judge(image: Image.Image) -> Judgement:
        raw_N = _numbers(network()(IMAGENET_224_BICUBIC.pixels(image).to(device)))
        # Nothing makes these ten numbers shares: only their weighted sum means anything.
        return _guess(aesthetics=on_scale(float(raw_N @ BINS_N), 1.0, 10.0))

    return _tool("eat", version, ("aesthetics",), judge)


def _eat_tad66k(version: str, network: NetworkOf, device: str, _: Path | None) -> Tool:
    def judge(image: Image.Image) -> Judgement:
        raw_1 = _numbers(network()(IMAGENET_224.pixels(image).to(device)))
        return _guess(aesthetics=on_scale(float(raw_1[0]), 0.0, 1.0))

    return _tool("eat_tad66k", version, ("aesthetics",), judge)


def _icaa(version: str, network: NetworkOf, device: str, _: Path | None) -> Tool:
    def judge(image: Image.Image) -> Judgement:
        seen: dict[str, Tensor] = {}
        aesthetics, colour = _numbers(network()(IMAGENET_224.pixels(image).to(device), seen=seen))
        scores = {"aesthetics": SCORE_MAX * float(aesthetics), "colour": SCORE_MAX * float(colour)}
        # an empty histogram: the heads have given their biases
        confidence = GUESSED_CONFIDENCE if bool(seen["hist"].any()) else BIAS_CONFIDENCE
        return Judgement(scores, dict.fromkeys(scores, confidence))

    return _tool("icaa", version, ("aesthetics", "colour"), judge)


def _prompt_det(version: str, network: NetworkOf, device: str, companion: Path | None) -> Tool:
    texts = read_texts(companion) if companion is not None else {}

    def judge(image: Image.Image) -> Judgement:
        loaded: Any = network()
        seen: dict[str, Tensor] = {}
        scores = {"colour": SCORE_MAX * float(_numbers(loaded(IMAGENET_224.pixels(image).to(device), seen=seen))[0])}
        for pair in PAIRS if texts else ():
            text_2E = torch.from_numpy(texts[pair.aspect]).to(device)
            share = float(loaded.share(seen["clip_feature"], text_2E)[0])
            if 0.0 < share < 1.0:  # else the logits cancel out, and their ratio means nothing
                scores[pair.aspect] = SCORE_MAX * pair.score(share)
        return _guess(**scores)

    aspects = ("colour", *(pair.aspect for pair in PAIRS)) if texts else ("colour",)
    return _tool("prompt_det", version, aspects, judge)


def read_texts(file: Path) -> dict[str, np.ndarray]:
    """By aspect the two prompts' CLIP RN50 text vectors, (2, 1024), from a NumPy file with an array by each prompt.

    Raises:
        InvalidInput: it cannot be read, or a prompt's vector is missing or is none.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name], np.float32) for name in arrays.files}
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise InvalidInput(f"{file.name} cannot be read: {str(error)[:200]}") from error
    texts = {}
    for pair in PAIRS:
        for prompt in pair.prompts:
            vector_E = found.get(prompt)
            if vector_E is None or vector_E.shape != (EMBEDDING_DIM,) or not 0 < np.linalg.norm(vector_E) < np.inf:
                raise InvalidInput(f"{file.name} has no vector of {EMBEDDING_DIM} numbers under {prompt!r}")
        texts[pair.aspect] = np.stack([found[prompt] for prompt in pair.prompts])
    return texts


def _elta(version: str, network: NetworkOf, device: str, _: Path | None) -> Tool:
    def judge(image: Image.Image) -> Judgement:
        return _bins(network()(ELTA_PREPROCESSING.pixels(image).to(device))[0])

    return _tool("elta", version, ("aesthetics",), judge)


def _elta_regression(version: str, network: NetworkOf, device: str, _: Path | None) -> Tool:
    def judge(image: Image.Image) -> Judgement:
        logit = network()(ELTA_PREPROCESSING.pixels(image).to(device))[1]
        return _guess(aesthetics=SCORE_MAX * float(_numbers(torch.sigmoid(logit))[0]))

    return _tool("elta_regression", version, ("aesthetics",), judge)


def _laion(version: str, network: NetworkOf, device: str, _: Path | None) -> Tool:
    def judge(image: Image.Image) -> Judgement:
        loaded: Any = network()
        embedding_D = _numbers(loaded(laion.pixels(image).to(device)))
        return _guess(aesthetics=loaded.collapsed().score(embedding_D))

    return _tool("laion", version, ("aesthetics",), judge)


BUILDERS: dict[str, Builder] = {
    "exposure_map": _exposure_map,
    "laion": _laion,
    "mnet": _mnet,
    "tanet": partial(_tanet, "tanet", "per_sample"),
    "tanet_ava": partial(_tanet, "tanet_ava", "per_sample"),
    "tanet_ava_no_theme": partial(_tanet, "tanet_ava_no_theme", "off"),
    "eat": _eat,
    "eat_tad66k": _eat_tad66k,
    "icaa": _icaa,
    "prompt_det": _prompt_det,
    "elta": _elta,
    "elta_regression": _elta_regression,
}
