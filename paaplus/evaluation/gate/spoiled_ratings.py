"""Ratings that are spoiled on purpose, to measure whether the gate refuses candidates that are trained on them.

Shape letters: N = ratings in order, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paaplus.records import SCORE_MAX, SCORE_MIN

HONEST = "honest"


def shuffled(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The ratings in random order: a person who does not look at the images."""
    return target_NA[rng.permutation(len(target_NA))]


def constant(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The first rating for every image: a person who clicks through."""
    return np.repeat(target_NA[:1], len(target_NA), axis=0)


def flipped(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The ratings on the reversed scale: a person or a client who mixes up its ends."""
    return SCORE_MAX + SCORE_MIN - target_NA


SPOIL: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "shuffled": shuffled,
    "constant": constant,
    "flipped": flipped,
}


def first_spoiled(origin: str, num_ratings: int, boundary: int) -> int:
    """Index of the first spoiled rating: the first that is new to the active version; the middle one for flips."""
    if origin == "flipped":
        return num_ratings // 2
    return boundary


def spoiled(origin: str, target_NA: np.ndarray, start: int, rng: np.random.Generator) -> np.ndarray:
    """The ratings with those from index `start` on spoiled, shape (N, A); unchanged for the origin `honest`."""
    if origin == HONEST:
        return target_NA
    return np.concatenate([target_NA[:start], SPOIL[origin](target_NA[start:], rng)])
