"""Matching: which prior a new user starts from. NumPy only.

The candidates are the current prior, one prior around each expert, and the combination of all experts. The user's
answers make each more or less likely, and the most likely one is selected. The candidates' prior probabilities differ:
on real people, it is rare that one expert fits best, and it takes much evidence (docs/decisions/0018-matching.md).

Shape letters: E = experts, X = candidates, C = comparisons, P = R + 2 regressors, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from paaplus.records import TIE, ComparedSet, RatedSet
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.experts import EXPERT_VARIANCE, Expert, Panel, combination_prior, expert_prior
from paaplus.scoring.model_evidence import Answers, posterior_given
from paaplus.scoring.priors import Prior, ShiftedPrior, TastePrior, design
from paaplus.scoring.questions import MAX_PAIRS, Question, disagreement_pairs, enough, next_pair

__all__ = [
    "MAX_PAIRS",
    "Expert",
    "Panel",
    "Question",
    "Selection",
    "combination_prior",
    "disagreement_pairs",
    "enough",
    "expert_prior",
    "next_pair",
    "select",
]

GENERIC, COMBINATION, EXPERT = "generic", "combination", "expert"
# Prior probabilities of the combination and of all single experts together; the rest is the current prior's.
_COMBINATION_SHARE, _EXPERTS_SHARE = 0.9, 0.05


@dataclass(frozen=True)
class Selection:
    """The prior that a user is matched with, and its probability.

    Attributes:
        kind: "generic", "combination" or "expert".
        expert_id: of the matched expert; None: another kind.
        prior: the new prior; None: the current one stays.
        probabilities: of "generic", "combination" and every expert id; their sum is 1.
        shares: by expert, the multiple of the expert's deviation in the user's expected taste (kind "combination";
            below 0: the opposite), or 1.0 for the one expert (kind "expert").
        agreement: by expert, the number of pairs that the expert's model orders as the user did (a tie counts half),
            and the number of pairs that the user answered.
        reason: one sentence for the user.
    """

    kind: str
    expert_id: str | None
    prior: TastePrior | None
    probabilities: dict[str, float]
    shares: dict[str, float]
    agreement: dict[str, tuple[float, int]]
    reason: str


def select(
    base: BaseScorer,
    prior: Prior,
    experts: Sequence[Expert],
    rated: RatedSet,
    compared: ComparedSet,
    shift_PA: np.ndarray | None = None,
    panel: Panel | None = None,
) -> Selection:
    """The most probable candidate, given the user's ratings and comparisons.

    Args:
        base: the base model of the taste space and of the generic scores.
        prior: the current prior of that base model.
        experts: expert models of that base model, in any order.
        rated: the user's ratings.
        compared: the user's comparisons, with the quiz answers.
        shift_PA: what a survey adds to the mean of the selected prior; None: nothing.
        panel: the panel of the same base model, prior and experts, if it is used for many users.

    Raises:
        InvalidInput: an expert or the prior is of another base model, an expert is given twice, or the shift has
            another shape.
    """
    panel = panel or Panel.of(base, prior, experts)
    shape = base.taste_dim + 2, len(base.aspects)
    mean_shift_PA = ShiftedPrior(prior, np.zeros(shape) if shift_PA is None else shift_PA).shift_PA
    if not panel.experts:
        return Selection(GENERIC, None, None, {GENERIC: 1.0}, {}, {}, "no expert models to match with")
    answers_A = [Answers.of(rated, compared, a, base.taste_dim + 2) for a in range(panel.num_aspects)]
    probability_X = _probabilities(panel, answers_A, mean_shift_PA)
    names = [GENERIC, COMBINATION, *(expert.id for expert in panel.experts)]
    probabilities = dict(zip(names, probability_X.tolist(), strict=True))
    agreement = _agreement(panel, compared)
    best = int(probability_X.argmax())
    if best == 0:
        reason = f"your answers fit the generic model better than {_count(len(panel.experts), 'expert model')}"
        return Selection(GENERIC, None, None, probabilities, {}, agreement, reason)
    if best == 1:
        shares = _shares(panel, answers_A, mean_shift_PA)
        reason = _combined_reason(len(panel.experts), len(rated), agreement)
        return Selection(COMBINATION, None, panel.combination, probabilities, shares, agreement, reason)
    expert = panel.experts[best - 2]
    agreed, num_pairs = agreement[expert.id]
    fits = f"agrees with you on {agreed:g} of {_count(num_pairs, 'pair')}" if num_pairs else "fits your ratings best"
    reason = f"{fits}; {probabilities[expert.id]:.0%} sure"
    return Selection(EXPERT, expert.id, panel.around(expert), probabilities, {expert.id: 1.0}, agreement, reason)


def _probabilities(panel: Panel, answers_A: Sequence[Answers], shift_PA: np.ndarray) -> np.ndarray:
    """Posterior probabilities of the current prior, the combination and every expert, shape (2 + E,)."""
    generic_share = 1.0 - _COMBINATION_SHARE - _EXPERTS_SHARE
    log_X = np.log(np.concatenate([[generic_share, _COMBINATION_SHARE], _EXPERTS_SHARE * panel.share_E]))
    for a, answers in enumerate(answers_A):
        if not len(answers):
            continue
        shift_P, combined_P = shift_PA[:, a], panel.combined_mean_PA[:, a]
        noise_sd, factor_PK = float(panel.prior.noise_sd_A[a]), panel.factor(a)
        log_X += np.concatenate(
            [
                posterior_given(answers, factor_PK, panel.prior.mean(a)[None] + shift_P, noise_sd).log_evidence_E,
                posterior_given(answers, panel.combined_factor(a), combined_P[None] + shift_P, noise_sd).log_evidence_E,
                posterior_given(
                    answers, np.sqrt(EXPERT_VARIANCE) * factor_PK, panel.weight_EPA[:, :, a] + shift_P, noise_sd
                ).log_evidence_E,
            ]
        )
    probability_X = np.exp(log_X - logsumexp(log_X))
    return probability_X / probability_X.sum()


def _shares(panel: Panel, answers_A: Sequence[Answers], shift_PA: np.ndarray) -> dict[str, float]:
    """The multiple of each expert's deviation in the user's expected weights, mean over aspects."""
    share_E = np.zeros(len(panel.experts))
    for a, answers in enumerate(answers_A):
        mean_P = panel.combined_mean_PA[:, a] + shift_PA[:, a]
        posterior = posterior_given(answers, panel.combined_factor(a), mean_P[None], float(panel.prior.noise_sd_A[a]))
        share_E += panel.direction_sd_E * (panel.direction_EPA[:, :, a] @ posterior.gradient_EP[0])
    return {expert.id: float(s) / len(answers_A) for expert, s in zip(panel.experts, share_E, strict=True)}


def _agreement(panel: Panel, compared: ComparedSet) -> dict[str, tuple[float, int]]:
    """By expert: the number of pairs that its model orders as the user did, and of those that the user answered."""
    agreed_EC, num_answers_C = np.zeros((len(panel.experts), len(compared))), np.zeros(len(compared))
    for a in range(panel.num_aspects if len(compared) else 0):
        first_C, second_C = compared.first_generic_CA[:, a], compared.second_generic_CA[:, a]
        difference_CP = design(compared.first_taste_CR, first_C) - design(compared.second_taste_CR, second_C)
        ahead_EC = np.sign(difference_CP[:, 1] + panel.weight_EPA[:, :, a] @ difference_CP.T)
        preference_C = compared.preference_CA[:, a]
        agrees_EC = np.where((preference_C == TIE) | (ahead_EC == 0), 0.5, (ahead_EC > 0) == (preference_C == 1.0))
        agreed_EC += np.where(np.isnan(preference_C), 0.0, agrees_EC)
        num_answers_C += ~np.isnan(preference_C)
    answered_C = num_answers_C > 0
    agreed_E = (agreed_EC[:, answered_C] / num_answers_C[answered_C]).sum(1)
    return {expert.id: (float(n), int(answered_C.sum())) for expert, n in zip(panel.experts, agreed_E, strict=True)}


def _combined_reason(num_experts: int, num_ratings: int, agreement: dict[str, tuple[float, int]]) -> str:
    combined = f"a combination of {_count(num_experts, 'expert model')}"
    agreed, num_pairs = max(agreement.values())
    if num_pairs:
        return f"{combined}; the closest agrees with you on {agreed:g} of {_count(num_pairs, 'pair')}"
    if num_ratings:
        return f"{combined} fits your {_count(num_ratings, 'rating')} better than any one of them"
    return f"{combined}: without answers, no single expert can be chosen"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
