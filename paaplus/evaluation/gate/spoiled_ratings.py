"""Ratings spoiled on purpose, to see whether the gate keeps what is learned of them from going live.

Shape letters: N = ratings in order, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paaplus.records import SCORE_MAX, SCORE_MIN

HONEST = "honest"


def shuffled(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same ratings, each on another image: somebody who does not look."""
    return target_NA[rng.permutation(len(target_NA))]


def constant(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The first rating again and again: somebody who clicks through."""
    return np.repeat(target_NA[:1], len(target_NA), axis=0)


def flipped(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The scale turned around: somebody, or a client, who mixed up its ends."""
    return SCORE_MAX + SCORE_MIN - target_NA


SPOIL: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "shuffled": shuffled,
    "constant": constant,
    "flipped": flipped,
}


def first_spoiled(origin: str, num_ratings: int, active_knows: int) -> int:
    """From which rating on somebody spoils: all that the active version does not know; flips begin half way."""
    if origin == "flipped":
        return num_ratings // 2
    return active_knows


def spoiled(origin: str, target_NA: np.ndarray, start: int, rng: np.random.Generator) -> np.ndarray:
    """The ratings as the platform gets them: held-out ones are spoiled like the others."""
    if origin == HONEST:
        return target_NA
    return np.concatenate([target_NA[:start], SPOIL[origin](target_NA[start:], rng)])
