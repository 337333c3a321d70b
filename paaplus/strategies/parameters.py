"""An adapter's parameters in training units: in prior standard deviations, by name, one user at a time. NumPy.

In these units one learning rate and one penalty, the sum of squares, suit every base model, aspect and adapter kind.
Shape letters: R = taste space dim, A = aspects, H = hidden units of a bottleneck.
"""

from functools import lru_cache

import numpy as np
import torch

from paaplus.errors import InvalidInput
from paaplus.scoring.adapters import Adapter, Bottleneck, TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import SCORE_CENTER

# Chosen on people and images of OASIS, see docs/decisions/0005.
_DIRECTION_SD = 0.3  # of the random directions: small enough for tanh to be nearly linear at first
_UP_SHARE = 0.6  # how much of the prior change may come from the directions as they are
_SMALLEST_UNIT = 1e-3

Parameters = dict[str, np.ndarray]  # float32; weights of layers as (outputs, inputs)


def rank_of(kind: str, rank: int, parent: Adapter | None) -> int:
    """Hidden units: a bottleneck keeps its parent's number; 0 for a taste vector."""
    if kind == TasteVector.kind:
        return 0
    return len(parent.up_HA) if isinstance(parent, Bottleneck) else rank


def down_sd(base: BaseScorer) -> float:
    """The unit of `down.weight`: a hidden unit sees about the taste signal over the noise of one rating.

    So tanh stays near its linear part. The floor is for a base model that knows of no differences between people.
    """
    return max(float(np.mean(base.prior_sd_A / base.noise_sd_A)), _SMALLEST_UNIT)


def up_sd(base: BaseScorer, rank: int) -> np.ndarray:
    """The unit of `up.weight`, shape (A,)."""
    return (np.asarray(base.noise_sd_A, np.float32) * np.float32(_UP_SHARE / rank**0.5)).astype(np.float32)


def start_of(kind: str, base: BaseScorer, rank: int, center: TasteVector | None) -> Parameters:
    """Where a first increment starts: at a taste vector's scores, or at no change.

    Raises:
        InvalidInput: the bottleneck is too small to score like the taste vector.
    """
    if kind == TasteVector.kind:
        zero = {"weight.weight": np.zeros((len(base.aspects), base.taste_dim), np.float32), **_no_affine(base)}
        return zero if center is None else parameters_of(center, base, zero)
    start = {**_pairs(base.taste_dim, rank, len(base.aspects)), **_no_affine(base)}
    return start if center is None else _around(center, base, start)


def parameters_of(adapter: Adapter, base: BaseScorer, start: Parameters) -> Parameters:
    """An adapter's parameters; `start` says where its kind starts."""
    slope_A = adapter.alpha_A.astype(np.float64) - 1.0
    found = {
        "offset.weight": _ratio(adapter.beta_A + slope_A * SCORE_CENTER, base.offset_sd_A),
        "slope.weight": _ratio(slope_A, base.slope_sd_A),
    }
    if isinstance(adapter, TasteVector):
        found["weight.weight"] = _ratio(adapter.weight_RA, base.prior_sd_A).T
    elif isinstance(adapter, Bottleneck) and (adapter.down_RH.any() or adapter.up_HA.any()):
        found["down.weight"] = adapter.down_RH.T / down_sd(base)
        found["down.bias"] = adapter.bias_H
        found["up.weight"] = _ratio(adapter.up_HA, up_sd(base, len(adapter.up_HA))).T
    else:  # the all-zero bottleneck is a saddle that gradients cannot leave: it starts like a new one
        rank = len(start["down.bias"])
        found |= _pairs(base.taste_dim, rank, len(base.aspects))
    return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}


def adapter_of(parameters: Parameters, base: BaseScorer) -> Adapter:
    """The adapter as served."""
    wide = {name: value.astype(np.float64) for name, value in parameters.items()}
    slope_A = wide["slope.weight"] * base.slope_sd_A
    offset_A = wide["offset.weight"] * base.offset_sd_A
    affine = (1.0 + slope_A).astype(np.float32), (offset_A - slope_A * SCORE_CENTER).astype(np.float32)
    if "weight.weight" in wide:
        return TasteVector(base.digest, *affine, (wide["weight.weight"].T * base.prior_sd_A).astype(np.float32))
    down_RH, up_HA = wide["down.weight"].T * down_sd(base), wide["up.weight"].T * up_sd(base, len(wide["down.bias"]))
    layers = down_RH, wide["down.bias"], up_HA
    return Bottleneck(base.digest, *affine, *(layer.astype(np.float32) for layer in layers))


def _no_affine(base: BaseScorer) -> Parameters:
    return {name: np.zeros(len(base.aspects), np.float32) for name in ("offset.weight", "slope.weight")}


@lru_cache(maxsize=16)
def _start_directions(taste_dim: int, rank: int) -> np.ndarray:
    """The same for every user and seed, so that any later increment can count the penalty from them."""
    generator = torch.Generator().manual_seed(0)
    pairs = _DIRECTION_SD * torch.randn((rank + 1) // 2, taste_dim, generator=generator)
    return np.asarray(pairs.repeat_interleave(2, dim=0)[:rank].numpy())


def _pairs(taste_dim: int, rank: int, num_aspects: int) -> Parameters:
    """A bottleneck that changes nothing, yet with gradients that point everywhere (docs/decisions/0005).

    Hidden units come in pairs that see one random direction and enter the score with opposite sign: their sum is zero,
    but turning the two apart makes the delta any linear function of taste, at about the scale of the taste prior.
    Each pair belongs to one aspect at first, so that aspects are not tied at random.
    """
    up_AH = np.zeros((num_aspects, rank), np.float32)
    num_pairs = rank // 2  # an odd unit has no effect at first
    for pair in range(num_pairs):
        aspect = pair % num_aspects
        num_units = 2 * len(range(aspect, num_pairs, num_aspects))
        weight = (rank / num_units) ** 0.5 / _UP_SHARE
        up_AH[aspect, 2 * pair], up_AH[aspect, 2 * pair + 1] = weight, -weight
    return {
        "down.weight": _start_directions(taste_dim, rank).copy(),
        "down.bias": np.zeros(rank, np.float32),
        "up.weight": up_AH,
    }


def _around(center: TasteVector, base: BaseScorer, start: Parameters) -> Parameters:
    """Turn the units of each pair apart until their sum is nearly the centre's linear function (docs/decisions/0018).

    Each pair of an aspect takes an equal part. What tanh takes of it because of the random directions is made up for
    on average. Where tanh would bend much (tastes that differ by far more than ratings err), the directions are made
    smaller and the weights of `up` larger.
    """
    rank, taste_dim = start["down.weight"].shape
    num_pairs, num_aspects = rank // 2, len(base.aspects)
    if num_pairs < num_aspects:
        needed = f"{num_aspects} aspects: {2 * num_aspects} at least"
        raise InvalidInput(f"a bottleneck of rank {rank} cannot start at somebody's taste of {needed}")
    unit, up_sd_A = down_sd(base), up_sd(base, rank)
    down_HR, up_AH = start["down.weight"] * np.float32(min(1.0, 1.0 / unit)), start["up.weight"].copy()
    bend = (_DIRECTION_SD * min(unit, 1.0)) ** 2
    for aspect in range(num_aspects):
        pairs = range(aspect, num_pairs, num_aspects)
        weight = float(up_AH[aspect, 2 * aspect] * up_sd_A[aspect])
        part_R = center.weight_RA[:, aspect].astype(np.float64) * (1.0 + bend) / (2.0 * weight * len(pairs))
        larger = max(1.0, float(np.linalg.norm(part_R)) / taste_dim**0.5 / _DIRECTION_SD)
        apart_R = (part_R / larger / unit).astype(np.float32)
        up_AH[aspect] *= np.float32(larger)
        for pair in pairs:
            down_HR[2 * pair] += apart_R
            down_HR[2 * pair + 1] -= apart_R
    affine = parameters_of(center, base, start)
    return {**start, "down.weight": down_HR, "up.weight": up_AH} | {name: affine[name] for name in _no_affine(base)}


def _ratio(value: np.ndarray, sd_A: np.ndarray) -> np.ndarray:
    """`value / sd_A`, and 0 where the prior allows no change at all."""
    sd_A = np.asarray(sd_A, np.float64)
    return np.where(sd_A > 0, value / np.where(sd_A > 0, sd_A, 1.0), 0.0)
