"""The quiz: which pair of images to ask a new user about next, and when to stop. NumPy only.

A question's value is its expected information about the user's taste, in nats: the entropy of the predicted answer,
less the expected entropy if the taste were known.

Source: Houlsby et al., "Bayesian active learning for classification and preference learning" (arXiv:1112.5745, 2011).
Shape letters: E = experts, I = images of the pool, Q = candidate pairs, P = R + 2 regressors, A = aspects, H = nodes
of the quadrature, X = scores of all experts and aspects.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import entr, expit

from paaplus.errors import InvalidInput
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.comparisons import TEMPERATURE_PER_NOISE_SD, TIE_WIDTH
from paaplus.scoring.experts import Expert, Panel
from paaplus.scoring.model_evidence import Answers, posterior_given
from paaplus.scoring.priors import Prior, design

MAX_PAIRS = 12
MIN_PAIRS = 4
ENOUGH_INFORMATION = 0.02  # nats: the quiz ends when the next answer is expected to give less
_MAX_POOL, _MAX_CANDIDATES = 300, 2000
_NODE_H, _NODE_WEIGHT_H = np.polynomial.hermite_e.hermegauss(9)
_NODE_WEIGHT_H = _NODE_WEIGHT_H / _NODE_WEIGHT_H.sum()


@dataclass(frozen=True)
class Question:
    """Two positions in the pool, and the expected information of the answer, in nats."""

    first: int
    second: int
    expected_information: float


def next_pair(
    base: BaseScorer,
    prior: Prior,
    experts: Sequence[Expert],
    rated: RatedSet,
    compared: ComparedSet,
    taste_IR: np.ndarray,
    generic_IA: np.ndarray,
    asked: Collection[tuple[int, int]],
    seed: int = 0,
    panel: Panel | None = None,
) -> Question | None:
    """The pair with the highest expected information; None: every pair was asked.

    Args:
        base: the base model.
        prior: the current prior of that base model; with a survey, shifted by it (`ShiftedPrior`).
        experts: expert models of that base model.
        rated: the user's ratings so far.
        compared: the user's comparisons so far.
        taste_IR: the pool in taste space.
        generic_IA: its generic scores.
        asked: pairs of positions, in either order, that are not asked again.
        seed: for the choice of candidate pairs if there are many, and of the image that is shown first.
        panel: the panel of the same base model, prior and experts, if it is used for many questions.
    """
    pool, pair_Q2 = _candidates(len(taste_IR), asked, seed)
    if not len(pair_Q2):
        return None
    panel = panel or Panel.of(base, prior, experts)
    first_Q, second_Q = pair_Q2.T
    information_Q = np.zeros(len(pair_Q2))
    for a in range(len(base.aspects)):
        answers = Answers.of(rated, compared, a, base.taste_dim + 2)
        generic_I, noise_sd = generic_IA[pool, a].astype(np.float64), float(prior.noise_sd_A[a])
        mean_P, factor_PK = prior.mean(a), panel.factor(a)
        if panel.experts:
            mean_P, factor_PK = panel.combined_mean_PA[:, a], panel.combined_factor(a)
        design_IP = design(taste_IR[pool], generic_I)
        posterior = posterior_given(answers, factor_PK, mean_P[None], noise_sd, design_IP, generic_I)
        score_I, covariance_II = posterior.score_EI[0], posterior.covariance_EII[0]
        variance_I = covariance_II.diagonal()
        variance_Q = variance_I[first_Q] + variance_I[second_Q] - 2.0 * covariance_II[first_Q, second_Q]
        information_Q += expected_information(
            score_I[first_Q] - score_I[second_Q], np.maximum(variance_Q, 0.0), noise_sd
        )
    best = int(information_Q.argmax())
    return Question(int(pool[first_Q[best]]), int(pool[second_Q[best]]), float(information_Q[best]))


def expected_information(mean_Q: np.ndarray, variance_Q: np.ndarray, noise_sd: float) -> np.ndarray:
    """Mutual information of each pair's answer and the difference of its scores, in nats, shape (Q,).

    Args:
        mean_Q: expected difference of the scores.
        variance_Q: its variance.
        noise_sd: standard deviation of a rating's noise, in score points.
    """
    z_QH = (mean_Q[:, None] + np.sqrt(variance_Q)[:, None] * _NODE_H) / (TEMPERATURE_PER_NOISE_SD * noise_sd)
    first_QH, second_QH = expit(z_QH - TIE_WIDTH), expit(-z_QH - TIE_WIDTH)
    answer_3QH = np.stack([first_QH, second_QH, np.maximum(1.0 - first_QH - second_QH, 0.0)])
    conditional_entropy_Q = entr(answer_3QH).sum(0) @ _NODE_WEIGHT_H
    return np.maximum(entr(answer_3QH @ _NODE_WEIGHT_H).sum(0) - conditional_entropy_Q, 0.0)


def enough(num_answered: int, question: Question | None, max_pairs: int = MAX_PAIRS) -> str | None:
    """The reason to end the quiz, as text; None: it goes on.

    Args:
        num_answered: number of pairs that the user was shown, with those answered "cannot say".
        question: the next question.
        max_pairs: the largest number of pairs.
    """
    if question is None:
        return "no pair is left to ask about"
    if num_answered >= max_pairs:
        return f"{num_answered} pairs asked, as many as were planned"
    if num_answered >= MIN_PAIRS and question.expected_information < ENOUGH_INFORMATION:
        return f"the next answer would tell little: {question.expected_information:.3f} nats"
    return None


def disagreement_pairs(
    base: BaseScorer,
    prior: Prior,
    experts: Sequence[Expert],
    taste_IR: np.ndarray,
    generic_IA: np.ndarray,
    count: int,
    seed: int = 0,
) -> list[tuple[int, int]]:
    """Pairs of the pool that distinguish the experts, as positions, the best first; for a survey of all users.

    Greedy: each next pair is the one on which the experts differ most, after the differences that the pairs before it
    explain are projected out. No image is used twice.

    Raises:
        InvalidInput: fewer than two experts.
    """
    experts = Panel.of(base, prior, experts).experts
    if len(experts) < 2:
        raise InvalidInput(f"{len(experts)} experts: two at least can disagree")
    pool, pair_Q2 = _candidates(len(taste_IR), (), seed)
    score_EIA = np.stack([expert.adapter.score(taste_IR[pool], generic_IA[pool]) for expert in experts])
    score_EIA = (score_EIA - score_EIA.mean(0)) / np.asarray(prior.noise_sd_A, np.float64)
    difference_QX = (score_EIA[:, pair_Q2[:, 0]] - score_EIA[:, pair_Q2[:, 1]]).transpose(1, 0, 2)
    difference_QX = difference_QX.reshape(len(pair_Q2), -1)
    chosen: list[tuple[int, int]] = []
    free_Q = np.ones(len(pair_Q2), bool)
    while len(chosen) < count:
        gain_Q = np.where(free_Q, np.square(difference_QX).sum(1), 0.0)
        best = int(gain_Q.argmax()) if len(gain_Q) else -1
        if best < 0 or gain_Q[best] <= 0.0:
            break
        pair_2 = pair_Q2[best]
        chosen.append((int(pool[pair_2[0]]), int(pool[pair_2[1]])))
        free_Q &= ~np.isin(pair_Q2, pair_2).any(1)
        direction_X = difference_QX[best] / np.sqrt(gain_Q[best])
        difference_QX = difference_QX - np.outer(difference_QX @ direction_X, direction_X)
    return chosen


def _candidates(num_images: int, asked: Collection[tuple[int, int]], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A sample of the pool, and candidate pairs of positions in it, shape (Q, 2); the same for the same seed.

    Images are not shown twice while there are others. On real people this is about as informative, and it is safer
    where the posterior's approximation is poor (docs/decisions/0018-matching.md).

    The order in a pair is random, so that a habit of answering "the first" does not bias the result.
    """
    rng = np.random.default_rng(seed)
    pool = np.sort(rng.permutation(num_images)[:_MAX_POOL])
    pair_Q2 = np.column_stack(np.triu_indices(len(pool), 1))
    shown = np.array(list(asked), np.int64).reshape(-1, 2)
    not_shown_Q = ~np.isin(pool[pair_Q2], shown).any(1)
    if not_shown_Q.any():
        pair_Q2 = pair_Q2[not_shown_Q]
    else:
        asked_codes = np.sort(shown, axis=1) @ [num_images, 1]
        pair_Q2 = pair_Q2[~np.isin(pool[pair_Q2] @ [num_images, 1], asked_codes)]
    if len(pair_Q2) > _MAX_CANDIDATES:
        pair_Q2 = pair_Q2[np.sort(rng.permutation(len(pair_Q2))[:_MAX_CANDIDATES])]
    swapped_Q = rng.random(len(pair_Q2)) < 0.5
    pair_Q2[swapped_Q] = pair_Q2[swapped_Q][:, ::-1]
    return pool, pair_Q2
