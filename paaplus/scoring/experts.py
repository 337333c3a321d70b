"""Expert models as taste priors of a new user: one expert's taste, or what experts have in common. NumPy only.

An expert's taste vector is converted to weights of `[1, generic - center, taste]`, the weights of a taste prior. An
expert's *deviation* is these weights less the mean of the current prior.

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
_SPREAD_HALF_AT = 300.0  # number of experts at which their spread counts as much as the current prior
_MEAN_HALF_AT = 100.0  # number of experts at which half of their mean offset is used
EXPERT_VARIANCE = 0.5  # variance of a user around a matched expert, as a share of the prior variance
_SIMILAR_DISTANCE = 0.05  # relative squared distance below which two experts count about as one


@dataclass(frozen=True)
class Expert:
    """An expert's adapter, and the number of ratings that it was trained on."""

    id: str
    adapter: TasteVector
    num_ratings: int


def weights_of(adapter: TasteVector) -> np.ndarray:
    """A taste vector as weights of `[1, generic - center, taste]`, shape (P, A), float64."""
    slope_A = adapter.alpha_A.astype(np.float64) - 1.0
    offset_A = adapter.beta_A + slope_A * SCORE_CENTER
    return np.concatenate([[offset_A], [slope_A], adapter.weight_RA])


@dataclass(frozen=True, eq=False)
class Panel:
    """The expert models of a base model and its current prior: everything that matches with them have in common.

    Experts are in order of id, so that results do not depend on the order of the input.
    """

    base: BaseScorer
    prior: Prior
    experts: tuple[Expert, ...]

    @classmethod
    def of(cls, base: BaseScorer, prior: Prior, experts: Sequence[Expert]) -> Panel:
        """A panel of these experts.

        Raises:
            InvalidInput: an expert or the prior is of another base model, or an expert is there twice.
        """
        if not prior.fits(base):
            raise InvalidInput(f"a taste prior of base models other than {base.digest[:12]}")
        for expert in experts:
            if expert.adapter.base_digest != base.digest:
                raise InvalidInput(
                    f"expert {expert.id} is of base model {expert.adapter.base_digest[:12]}, not of this one"
                )
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
        """Weights of each expert less the mean of the current prior."""
        return self.weight_EPA - np.stack([self.prior.mean(a) for a in range(self.num_aspects)], axis=1)

    @cached_property
    def share_E(self) -> np.ndarray:
        """The share of each expert in the panel, sums to 1. Similar experts share the weight of one."""
        root_P = np.sqrt(_energy(self.deviation_EPA.shape[1]))
        weighed = (self.deviation_EPA * root_P[:, None]).reshape(len(self.experts), -1)
        square_E = np.square(weighed).sum(1)
        distance_EE = np.maximum(square_E[:, None] + square_E - 2.0 * weighed @ weighed.T, 0.0)
        scale_EE = np.maximum((square_E[:, None] + square_E) / 2.0, np.finfo(np.float64).tiny)
        share_E = 1.0 / np.exp(-distance_EE / scale_EE / _SIMILAR_DISTANCE).sum(1)
        return share_E / share_E.sum()

    @cached_property
    def spread_share(self) -> float:
        """The experts' share of the combination's covariance, 0-1."""
        return self._effective_num_experts / (self._effective_num_experts + _SPREAD_HALF_AT)

    @cached_property
    def mean_share(self) -> float:
        """The share of the experts' mean offset that the combination uses, 0-1."""
        return self._effective_num_experts / (self._effective_num_experts + _MEAN_HALF_AT)

    @cached_property
    def mean_shift_PA(self) -> np.ndarray:
        """The combination's mean less that of the current prior: a share of the experts' mean offset.

        Their mean taste is not used: if the base model was trained on these people, it is the base model's noise
        (decision 18).
        """
        mean_shift_PA = np.zeros_like(self.deviation_EPA[0])
        mean_shift_PA[0] = self.mean_share * (self.share_E @ self.deviation_EPA[:, 0])
        return mean_shift_PA

    @cached_property
    def direction_EPA(self) -> np.ndarray:
        """A column per expert of a factor of the combination's covariance: the scaled deviation."""
        return (self.deviation_EPA - self.mean_shift_PA) * self.direction_sd_E[:, None, None]

    @cached_property
    def direction_sd_E(self) -> np.ndarray:
        """Standard deviation, over users, of the multiple of each expert's deviation in the user's."""
        return np.sqrt(self.spread_share * self.share_E)

    @cached_property
    def combination(self) -> TastePrior:
        """The current prior, with the experts' mean offset and a larger variance along the experts' deviations.

        A few experts change the prior little; hundreds nearly replace its covariance. A user's expected taste is then
        a shrunken combination of the experts' tastes, plus a part that no expert has.
        """
        factors = [_leading(self.combined_factor(a)) for a in range(self.num_aspects)]
        return self._prior(self.combined_mean_PA, factors)

    @cached_property
    def combined_mean_PA(self) -> np.ndarray:
        """Mean weights of the combination, float64."""
        return self.weight_EPA[0] - self.deviation_EPA[0] + self.mean_shift_PA

    def combined_factor(self, aspect: int) -> np.ndarray:
        """Factor of the combination's covariance, shape (P, K + E): of the current prior, and a column per expert."""
        return np.concatenate(
            [np.sqrt(1.0 - self.spread_share) * self.factor(aspect), self.direction_EPA[:, :, aspect].T], axis=1
        )

    def around(self, expert: Expert) -> TastePrior:
        """A prior around one expert: the expert's weights as the mean, and a share of the current prior's variance."""
        factors = [np.sqrt(EXPERT_VARIANCE) * self.factor(a) for a in range(self.num_aspects)]
        return self._prior(weights_of(expert.adapter), factors)

    def factor(self, aspect: int) -> np.ndarray:
        """Factor of the current prior's covariance, shape (P, K), float64."""
        return self._factors[aspect]

    @cached_property
    def _factors(self) -> list[np.ndarray]:
        return [factor_of(self.prior, a) for a in range(self.num_aspects)]

    @property
    def _effective_num_experts(self) -> float:
        return float(1.0 / np.square(self.share_E).sum())

    def _prior(self, mean_PA: np.ndarray, factors: Sequence[np.ndarray]) -> TastePrior:
        factor_PKA = np.stack(factors, axis=2).astype(np.float32)
        noise_sd_A = np.array(self.prior.noise_sd_A, np.float32)
        return TastePrior(self.base.digest, mean_PA.astype(np.float32), factor_PKA, noise_sd_A)


def combination_prior(base: BaseScorer, prior: Prior, experts: Sequence[Expert]) -> TastePrior:
    """The prior of a user who is matched with a combination of experts, see `Panel.combination`.

    Raises:
        InvalidInput: no expert, or one of another base model.
    """
    if not experts:
        raise InvalidInput("a combination of no experts")
    return Panel.of(base, prior, experts).combination


def expert_prior(base: BaseScorer, prior: Prior, expert: Expert) -> TastePrior:
    """The prior of a user who is matched with one expert, see `Panel.around`."""
    return Panel.of(base, prior, [expert]).around(expert)


def factor_of(prior: Prior, aspect: int) -> np.ndarray:
    """The matrix from a prior's coordinates to weights, shape (P, K), float64."""
    if isinstance(prior, ShiftedPrior):
        return factor_of(prior.prior, aspect)
    if isinstance(prior, TastePrior):
        return prior.factor_PKA[:, :, aspect].astype(np.float64)
    identity_KK = np.eye(prior.num_coordinates)
    return np.stack([prior.weights(unit_K, aspect) for unit_K in identity_KK], axis=1) - prior.mean(aspect)[:, None]


def _energy(num_regressors: int) -> np.ndarray:
    """Approximate mean square of every regressor over images; taste space has a squared norm of 1 on average."""
    return np.concatenate([np.ones(2), np.full(num_regressors - 2, 1.0 / max(num_regressors - 2, 1))])


def _leading(factor_PK: np.ndarray) -> np.ndarray:
    """A factor of the same covariance with P columns or fewer, sorted by the variance of scores that they explain."""
    root_P = np.sqrt(_energy(len(factor_PK)))
    value_P, vector_PP = np.linalg.eigh((factor_PK @ factor_PK.T) * np.outer(root_P, root_P))
    value_P, vector_PP = np.maximum(value_P[::-1], 0.0), vector_PP[:, ::-1]
    vector_PP = vector_PP * np.sign(vector_PP[np.abs(vector_PP).argmax(0), np.arange(len(root_P))])
    return (vector_PP * np.sqrt(value_P) / root_P[:, None])[:, : min(factor_PK.shape)]
