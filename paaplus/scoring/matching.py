"""Which prior a new person starts from: the one in force, one expert's, or a combination of the experts'. NumPy only.

Every candidate is a taste prior; what the person said so far makes each more or less likely, and the most likely one is
selected. Candidates are not equally likely beforehand: that one expert is just like a person is rare, and on real
people it takes a lot of evidence (docs/decisions/0018-matching.md).

Shape letters: E = experts, X = candidates, C = comparisons, P = R + 2 regressors, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from paaplus.records import TIE, ComparedSet, RatedSet
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.evidence import Answers, believe
from paaplus.scoring.experts import EXPERT_VARIANCE, Expert, Panel, combination_prior, expert_prior
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
# Before anything is said of a person: the combination fits, or some one expert does. The rest is the prior in force's.
_COMBINATION_SHARE, _EXPERTS_SHARE = 0.9, 0.05


@dataclass(frozen=True)
class Selection:
    """The prior that a person is matched with, and how sure that is.

    `probabilities` are over "generic", "combination" and every expert id. `shares` say how many times each expert's
    deviation is in the person's expected taste (of kind combination; below 0: the opposite of theirs), or 1.0 for the
    one. `agreement` counts pairs: on how many an expert's model orders the images as the person did (a tie is half), of
    how many the person spoke about.
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
    """The candidate that is most likely after what the person said.

    Args:
        base: the base model that the rows were projected and scored by.
        prior: in force for it.
        experts: models of that base model, in any order.
        rated: the person's ratings.
        compared: their comparisons, quiz answers among them.
        shift_PA: by how much a survey moves the mean of whichever prior is selected.
        panel: made of the same base model, prior and experts, where many people are matched with them.

    Raises:
        InvalidInput: an expert or the prior is of another base model, an expert is given twice, or a shift that does
            not fit.
    """
    panel = panel or Panel.of(base, prior, experts)
    shape = base.taste_dim + 2, len(base.aspects)
    moved_PA = ShiftedPrior(prior, np.zeros(shape) if shift_PA is None else shift_PA).shift_PA
    if not panel.experts:
        return Selection(GENERIC, None, None, {GENERIC: 1.0}, {}, {}, "no expert models to match with")
    says = [Answers.of(rated, compared, a, base.taste_dim + 2) for a in range(panel.num_aspects)]
    probability_X = _probabilities(panel, says, moved_PA)
    names = [GENERIC, COMBINATION, *(expert.id for expert in panel.experts)]
    probabilities = dict(zip(names, probability_X.tolist(), strict=True))
    agreement = _agreement(panel, compared)
    best = int(probability_X.argmax())
    if best == 0:
        reason = f"what you said fits the generic model better than {_count(len(panel.experts), 'expert model')}"
        return Selection(GENERIC, None, None, probabilities, {}, agreement, reason)
    if best == 1:
        shares = _shares(panel, says, moved_PA)
        reason = _combined_reason(len(panel.experts), len(rated), agreement)
        return Selection(COMBINATION, None, panel.combination, probabilities, shares, agreement, reason)
    expert = panel.experts[best - 2]
    agreed, said = agreement[expert.id]
    fits = f"agrees with you on {agreed:g} of {_count(said, 'pair')}" if said else "fits your ratings best"
    reason = f"{fits}; {probabilities[expert.id]:.0%} sure"
    return Selection(EXPERT, expert.id, panel.around(expert), probabilities, {expert.id: 1.0}, agreement, reason)


def _probabilities(panel: Panel, says: Sequence[Answers], shift_PA: np.ndarray) -> np.ndarray:
    """Of the prior in force, the combination and every expert; shape (2 + E,), sums to 1."""
    generic_share = 1.0 - _COMBINATION_SHARE - _EXPERTS_SHARE
    log_X = np.log(np.concatenate([[generic_share, _COMBINATION_SHARE], _EXPERTS_SHARE * panel.voice_E]))
    for a, answers in enumerate(says):
        if not len(answers):
            continue
        shift_P, combined_P = shift_PA[:, a], panel.combined_mean_PA[:, a]
        noise_sd, factor_PK = float(panel.prior.noise_sd_A[a]), panel.factor(a)
        log_X += np.concatenate(
            [
                believe(answers, factor_PK, panel.prior.mean(a)[None] + shift_P, noise_sd).log_evidence_E,
                believe(answers, panel.combined_factor(a), combined_P[None] + shift_P, noise_sd).log_evidence_E,
                believe(
                    answers, np.sqrt(EXPERT_VARIANCE) * factor_PK, panel.weight_EPA[:, :, a] + shift_P, noise_sd
                ).log_evidence_E,
            ]
        )
    probability_X = np.exp(log_X - logsumexp(log_X))
    return probability_X / probability_X.sum()


def _shares(panel: Panel, says: Sequence[Answers], shift_PA: np.ndarray) -> dict[str, float]:
    """How many times each expert's deviation is in the person's expected weights, mean over aspects."""
    share_E = np.zeros(len(panel.experts))
    for a, answers in enumerate(says):
        mean_P = panel.combined_mean_PA[:, a] + shift_PA[:, a]
        belief = believe(answers, panel.combined_factor(a), mean_P[None], float(panel.prior.noise_sd_A[a]))
        share_E += panel.apart_scale_E * (panel.apart_EPA[:, :, a] @ belief.pull_EP[0])
    return {expert.id: float(s) / len(says) for expert, s in zip(panel.experts, share_E, strict=True)}


def _agreement(panel: Panel, compared: ComparedSet) -> dict[str, tuple[float, int]]:
    """By expert: pairs that their model orders as the person did, a tie being half, and how many the person told."""
    agreed_EC, num_told_C = np.zeros((len(panel.experts), len(compared))), np.zeros(len(compared))
    for a in range(panel.num_aspects if len(compared) else 0):
        first_C, second_C = compared.first_generic_CA[:, a], compared.second_generic_CA[:, a]
        apart_CP = design(compared.first_taste_CR, first_C) - design(compared.second_taste_CR, second_C)
        ahead_EC = np.sign(apart_CP[:, 1] + panel.weight_EPA[:, :, a] @ apart_CP.T)
        preference_C = compared.preference_CA[:, a]
        agrees_EC = np.where((preference_C == TIE) | (ahead_EC == 0), 0.5, (ahead_EC > 0) == (preference_C == 1.0))
        agreed_EC += np.where(np.isnan(preference_C), 0.0, agrees_EC)
        num_told_C += ~np.isnan(preference_C)
    told_C = num_told_C > 0
    agreed_E = (agreed_EC[:, told_C] / num_told_C[told_C]).sum(1)
    return {expert.id: (float(n), int(told_C.sum())) for expert, n in zip(panel.experts, agreed_E, strict=True)}


def _combined_reason(num_experts: int, num_ratings: int, agreement: dict[str, tuple[float, int]]) -> str:
    told = f"a combination of {_count(num_experts, 'expert model')}"
    agreed, said = max(agreement.values())
    if said:
        return f"{told}; the closest agrees with you on {agreed:g} of {_count(said, 'pair')}"
    if num_ratings:
        return f"{told} fits your {_count(num_ratings, 'rating')} better than any one of them"
    return f"{told}: nothing said yet tells which of them is like you"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
