"""Expert models as priors of a new person: one expert's taste, or what experts have in common. NumPy only.

An expert's taste vector says the same as weights of `[1, generic - center, taste]`, which is what a taste prior is
over; a *deviation* is how far they lie from the mean of the prior in force.

Shape letters: E = experts, P = R + 2 regressors, K = coordinates of a prior, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import SCORE_CENTER, Prior, ShiftedPrior, TastePrior

# Measured on people and images that no reported number uses (docs/decisions/0018-matching.md).
_SPREAD_AT = 300.0  # experts at which their spread counts as much as the prior in force
_MEAN_AT = 100.0  # experts at which half of their mean offset is believed
EXPERT_VARIANCE = 0.5  # of a person around an expert like them, as a share of the prior's around its mean
_ALIKE = 0.05  # relative squared distance at which two experts begin to count as one


@dataclass(frozen=True)
class Expert:
    """An expert model as matching sees it."""

    id: str
    adapter: TasteVector
    num_ratings: int


def weights_of(adapter: TasteVector) -> np.ndarray:
    """Weights of `[1, generic - center, taste]`, shape (P, A), float64."""
    slope_A = adapter.alpha_A.astype(np.float64) - 1.0
    offset_A = adapter.beta_A + slope_A * SCORE_CENTER
    return np.concatenate([[offset_A], [slope_A], adapter.weight_RA])


@dataclass(frozen=True, eq=False)
class Panel:
    """The expert models of a base model beside the prior in force: what all matches with them share.

    Experts are in order of id, so that nothing depends on the order in which they were given.
    """

    base: BaseScorer
    prior: Prior
    experts: tuple[Expert, ...]

    @classmethod
    def of(cls, base: BaseScorer, prior: Prior, experts: Sequence[Expert]) -> Panel:
        """Raises InvalidInput where an expert or the prior is of another base model, or an expert is there twice."""
        if not prior.fits(base):
            raise InvalidInput(f"a taste prior of base models other than {base.digest[:12]}")
        for expert in experts:
            if expert.adapter.base_digest != base.digest:
                raise InvalidInput(f"expert {expert.id} stands on base {expert.adapter.base_digest[:12]}, not this one")
        if len({expert.id for expert in experts}) != len(experts):
            raise InvalidInput(f"{len(experts)} experts, some of them twice")
        return cls(base, prior, tuple(sorted(experts, key=lambda expert: expert.id)))

    @property
    def num_aspects(self) -> int:
        return len(self.base.aspects)

    @cached_property
    def weight_EPA(self) -> np.ndarray:
        return np.stack([weights_of(expert.adapter) for expert in self.experts])

    @cached_property
    def deviation_EPA(self) -> np.ndarray:
        """How far each expert's weights lie from the mean of the prior in force."""
        return self.weight_EPA - np.stack([self.prior.mean(a) for a in range(self.num_aspects)], axis=1)

    @cached_property
    def voice_E(self) -> np.ndarray:
        """How much each expert counts beside the others, sums to 1: two that are alike share one voice."""
        root_P = np.sqrt(_energy(self.deviation_EPA.shape[1]))
        weighed = (self.deviation_EPA * root_P[:, None]).reshape(len(self.experts), -1)
        square_E = np.square(weighed).sum(1)
        distance_EE = np.maximum(square_E[:, None] + square_E - 2.0 * weighed @ weighed.T, 0.0)
        scale_EE = np.maximum((square_E[:, None] + square_E) / 2.0, np.finfo(np.float64).tiny)
        voice_E = 1.0 / np.exp(-distance_EE / scale_EE / _ALIKE).sum(1)
        return voice_E / voice_E.sum()

    @cached_property
    def spread_share(self) -> float:
        """How much of the combination's covariance is the experts'."""
        return self._num_voices / (self._num_voices + _SPREAD_AT)

    @cached_property
    def mean_share(self) -> float:
        """How much of their mean offset is in the combination's."""
        return self._num_voices / (self._num_voices + _MEAN_AT)

    @cached_property
    def moved_PA(self) -> np.ndarray:
        """What the combination's mean has over that of the prior in force: some of the experts' mean offset.

        Not of their mean taste: where the base model knows these people, that is its own noise (decision 18).
        """
        moved_PA = np.zeros_like(self.deviation_EPA[0])
        moved_PA[0] = self.mean_share * (self.voice_E @ self.deviation_EPA[:, 0])
        return moved_PA

    @cached_property
    def apart_EPA(self) -> np.ndarray:
        """Each expert's direction in the combination's covariance, which is the sum of their squares and the rest."""
        return (self.deviation_EPA - self.moved_PA) * self.apart_scale_E[:, None, None]

    @cached_property
    def apart_scale_E(self) -> np.ndarray:
        """Of each expert's direction: the sd of how many times their deviation is in a person's."""
        return np.sqrt(self.spread_share * self.voice_E)

    @cached_property
    def combination(self) -> TastePrior:
        """The prior in force, with the experts' mean offset, and widened along the directions in which they differ.

        Experts count by how many they are: a few change the prior little, hundreds nearly replace its covariance. A
        person is then a shrunken combination of experts, plus what no expert has.
        """
        factors = [_leading(self.combined_factor(a)) for a in range(self.num_aspects)]
        return self._prior(self.combined_mean_PA, factors)

    @cached_property
    def combined_mean_PA(self) -> np.ndarray:
        return self.weight_EPA[0] - self.deviation_EPA[0] + self.moved_PA

    def combined_factor(self, aspect: int) -> np.ndarray:
        """Of the combination's covariance: that of the prior in force, and a column for each expert; (P, K + E)."""
        return np.concatenate(
            [np.sqrt(1.0 - self.spread_share) * self.factor(aspect), self.apart_EPA[:, :, aspect].T], axis=1
        )

    def around(self, expert: Expert) -> TastePrior:
        """Someone like this expert: their weights as the mean, and a share of the variance of the prior in force."""
        factors = [np.sqrt(EXPERT_VARIANCE) * self.factor(a) for a in range(self.num_aspects)]
        return self._prior(weights_of(expert.adapter), factors)

    def factor(self, aspect: int) -> np.ndarray:
        """Of the prior in force, shape (P, K)."""
        return self._factors[aspect]

    @cached_property
    def _factors(self) -> list[np.ndarray]:
        return [factor_of(self.prior, a) for a in range(self.num_aspects)]

    @property
    def _num_voices(self) -> float:
        return float(1.0 / np.square(self.voice_E).sum())

    def _prior(self, mean_PA: np.ndarray, factors: Sequence[np.ndarray]) -> TastePrior:
        factor_PKA = np.stack(factors, axis=2).astype(np.float32)
        noise_sd_A = np.array(self.prior.noise_sd_A, np.float32)
        return TastePrior(self.base.digest, mean_PA.astype(np.float32), factor_PKA, noise_sd_A)


def combination_prior(base: BaseScorer, prior: Prior, experts: Sequence[Expert]) -> TastePrior:
    """The prior of a person who is matched with a combination of experts, see `Panel.combination`.

    Raises:
        InvalidInput: no expert, or one of another base model.
    """
    if not experts:
        raise InvalidInput("a combination of no experts")
    return Panel.of(base, prior, experts).combination


def expert_prior(base: BaseScorer, prior: Prior, expert: Expert) -> TastePrior:
    """The prior of a person who is matched with one expert, see `Panel.around`."""
    return Panel.of(base, prior, [expert]).around(expert)


def factor_of(prior: Prior, aspect: int) -> np.ndarray:
    """What turns a prior's coordinates into weights, shape (P, K)."""
    if isinstance(prior, ShiftedPrior):
        return factor_of(prior.prior, aspect)
    if isinstance(prior, TastePrior):
        return prior.factor_PKA[:, :, aspect].astype(np.float64)
    identity_KK = np.eye(prior.num_coordinates)
    return np.stack([prior.weights(unit_K, aspect) for unit_K in identity_KK], axis=1) - prior.mean(aspect)[:, None]


def _energy(num_regressors: int) -> np.ndarray:
    """Mean square of every regressor over images, about: taste space has a squared norm of 1 on average."""
    return np.concatenate([np.ones(2), np.full(num_regressors - 2, 1.0 / max(num_regressors - 2, 1))])


def _leading(factor_PK: np.ndarray) -> np.ndarray:
    """A factor of the same covariance with P columns at most, those that say most about images first."""
    root_P = np.sqrt(_energy(len(factor_PK)))
    value_P, vector_PP = np.linalg.eigh((factor_PK @ factor_PK.T) * np.outer(root_P, root_P))
    value_P, vector_PP = np.maximum(value_P[::-1], 0.0), vector_PP[:, ::-1]
    vector_PP = vector_PP * np.sign(vector_PP[np.abs(vector_PP).argmax(0), np.arange(len(root_P))])
    return (vector_PP * np.sqrt(value_P) / root_P[:, None])[:, : min(factor_PK.shape)]
