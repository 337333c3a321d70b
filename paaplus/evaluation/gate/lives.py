"""Lives: what a person might send over time, honest or spoiled, with the truth that it should be judged by.

Shape letters: N = ratings in order, C = comparisons in order, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from paaplus.records import PREFERS_FIRST, PREFERS_SECOND, SCORE_MAX, SCORE_MIN, TIE


@dataclass(frozen=True)
class Life:
    """One kind of life.

    Attributes:
        length: number of ratings or comparisons, in multiples of the study's `num_answers`.
        spoil: turns the honest ratings, in order, into those that are sent; None: a life of comparisons.
        answer: likewise for honest preferences.
        in_circles: comparisons come in threes: of a and b, b and c, c and a.
        reversed_from: share of the answers after which the true taste is the reverse of the honest ratings.
        compared_at: share of the answers after which the served scores are what *worse* is measured against; 0: the
            generic scores.
    """

    length: float = 1.0
    spoil: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None
    answer: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None
    in_circles: bool = False
    reversed_from: float | None = None
    compared_at: float = 0.0

    def num_answers(self, num: int) -> int:
        """Its number of answers if a life of length 1 has `num`."""
        return round(self.length * num)

    @property
    def compares(self) -> bool:
        """Whether the person compares images, and rates none."""
        return self.answer is not None


def _honest(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return value


def _shuffled(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return target_NA[rng.permutation(len(target_NA))]


def _reversed(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return SCORE_MAX + SCORE_MIN - target_NA


def _uniform(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each rating drawn from the person's scale, all its points equally likely."""
    return rng.choice(np.unique(target_NA), size=target_NA.shape)


def _partly_shuffled(share: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def spoil(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spoiled_N = rng.random(len(target_NA)) < share
        result_NA = target_NA.copy()
        result_NA[spoiled_N] = _shuffled(target_NA[spoiled_N], rng)
        return result_NA

    return spoil


def _in_parts(
    cut: float, first: Callable[..., np.ndarray], second: Callable[..., np.ndarray]
) -> Callable[..., np.ndarray]:
    def spoil(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        boundary = round(cut * len(target_NA))
        return np.concatenate([first(target_NA[:boundary], rng), second(target_NA[boundary:], rng)])

    return spoil


def _constant(target_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.repeat(target_NA[:1], len(target_NA), axis=0)


def _coin(preference_CA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.choice([PREFERS_FIRST, PREFERS_SECOND], size=preference_CA.shape)


def _always_first(preference_CA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.full_like(preference_CA, PREFERS_FIRST)


def _circles(preference_CA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pairs come in threes (a, b), (b, c), (c, a): the first image of each is called better, or each second."""
    turn = rng.choice([PREFERS_FIRST, PREFERS_SECOND], size=(len(preference_CA) + 2) // 3)
    return np.repeat(turn, 3)[: len(preference_CA), None] + np.zeros_like(preference_CA)


def _other_side(preference_CA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return PREFERS_FIRST - preference_CA


LIVES: dict[str, Life] = {
    "honest": Life(spoil=_honest),
    "shuffled": Life(spoil=_shuffled),
    "uniform": Life(spoil=_uniform),
    "half": Life(spoil=_partly_shuffled(0.5)),
    "one in three": Life(spoil=_partly_shuffled(1 / 3)),
    "honest, then shuffled": Life(spoil=_in_parts(0.5, _honest, _shuffled), compared_at=0.5),
    "shuffled, then honest": Life(1.26, spoil=_in_parts(60 / 126, _shuffled, _honest)),
    "contrarian": Life(0.6, spoil=_reversed, reversed_from=0.0),
    "flipped": Life(spoil=_in_parts(0.5, _honest, _reversed), reversed_from=0.5),
    "constant": Life(spoil=_constant),
    "comparisons: honest": Life(answer=_honest),
    "comparisons: coin": Life(answer=_coin),
    "comparisons: always first": Life(answer=_always_first),
    "comparisons: circles": Life(answer=_circles, in_circles=True),
    "comparisons: contrarian": Life(answer=_other_side, reversed_from=0.0),
}


def compared_pairs(num_images: int, num_pairs: int, in_circles: bool, rng: np.random.Generator) -> np.ndarray:
    """Places of the images of every pair, shape (C, 2); with `in_circles`, three pairs of each three images."""
    if in_circles:
        triples = [rng.choice(num_images, 3, replace=False) for _ in range((num_pairs + 2) // 3)]
        return np.concatenate([[(a, b), (b, c), (c, a)] for a, b, c in triples])[:num_pairs]
    return np.array([rng.choice(num_images, 2, replace=False) for _ in range(num_pairs)])


def preferences(first_CA: np.ndarray, second_CA: np.ndarray) -> np.ndarray:
    """The preference that two ratings imply."""
    difference_CA = first_CA - second_CA
    return np.select([difference_CA > 0, difference_CA < 0], [PREFERS_FIRST, PREFERS_SECOND], TIE)
