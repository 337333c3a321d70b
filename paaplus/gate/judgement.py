"""The decision on a candidate, from ratings that neither it nor the active version was trained on.

Each check asks whether the candidate is worse than the active version by more than a margin. The mean difference of
two losses gets a Student-t posterior under a weak prior around "no difference". A check fails when the probability of
being within the margin is too low. With too few unseen ratings the size of the change decides, because a mean of few
differences is mostly noise. docs/decisions/0006-gate.md and `paaplus evaluate gate` measure how often good and bad
candidates pass.

Shape letters: D = differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from paaplus.configs import GateConfig
from paaplus.gate import wording
from paaplus.gate.evidence import Evidence, UnseenRatings
from paaplus.gate.orders import agreements, order, pair_gains
from paaplus.gate.posterior import posterior_of_mean, posterior_of_pairs
from paaplus.records import SCORE_MAX, SCORE_MIN

_LOSS_PRIOR_SD = 3.0  # typical difference of two sensible models' squared errors on one rating
_FLIP_PRIOR_SD = 0.25  # the same for the share of a rating's pairs that the models order differently
_AGREEMENT_PRIOR_SD = 0.4  # the same for the agreement of one rating with an order
_MAX_COMPARED = 200  # of the latest ratings, because the number of pairs grows with the square


@dataclass(frozen=True)
class GateCheck:
    """One check of a candidate.

    `value` is compared with `limit`; None: there was too little to measure. `detail` is a sentence, see `wording`.
    """

    name: str
    passed: bool
    value: float | None
    limit: float
    detail: str


@dataclass(frozen=True)
class GateReport:
    """The decision on a candidate. `reason` has one sentence per check, failed ones first."""

    promote: bool
    reason: str
    checks: tuple[GateCheck, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"promote": self.promote, "reason": self.reason, "checks": [asdict(check) for check in self.checks]}


def follows_known_order(evidence: Evidence, config: GateConfig) -> bool:
    """True if the new ratings follow the order of the served or of the generic scores, or are too few to test.

    The candidate's scores are ignored.
    """
    without = replace(evidence, held_out=_without_candidate(evidence.held_out), new=_without_candidate(evidence.new))
    return _check_agreement(without, config).passed


def judge(evidence: Evidence, config: GateConfig) -> GateReport:
    """Decide whether a candidate is promoted.

    These checks must pass, each with a probability of `min_probability` or more:

        sound_scores    every score is a finite number from 0 to 10 (certain, not probable)
        agreement       new ratings follow the order of the served, generic or learned scores to `min_agreement`
        loss            squared error is not higher by more than `margin`
        forgetting      the same on earlier increments, by more than `forgetting_margin`
        negative_flips  the share of pairs in the wrong order does not grow by more than `max_negative_flip_rate`

    With fewer than `min_evidence` unseen ratings, the last three are replaced by one:

        trust_region    scores move by `trust_region` points or less on average
    """
    sound = _check_sound(evidence)
    if not sound.passed:
        return _report([sound])
    agreement = _check_agreement(evidence, config)
    gain_D = evidence.gains()
    if len(gain_D) < config.min_evidence:
        note = wording.too_few_ratings(len(gain_D), config.min_evidence)
        return _report([sound, _check_shift(evidence, config), agreement], note)
    return _report(
        [
            sound,
            _check_loss(gain_D, config),
            _check_forgetting(evidence, config),
            _check_flips(evidence, config),
            agreement,
        ]
    )


def _report(checks: Sequence[GateCheck], note: str = "") -> GateReport:
    sound, *others = checks
    by_interest = [*others, sound]  # that all scores are numbers matters least to a reader
    failed = [check.detail for check in by_interest if not check.passed]
    passed = [check.detail for check in by_interest if check.passed]
    return GateReport(not failed, wording.reason(not failed, failed, passed, note), tuple(checks))


def _check_sound(evidence: Evidence) -> GateCheck:
    scores = np.concatenate([evidence.held_out.candidate_NA.ravel(), evidence.pool_candidate_PA.ravel()])
    bad = ~((scores >= SCORE_MIN) & (scores <= SCORE_MAX))  # also true of NaN
    detail = wording.sound_scores(int(bad.sum()), len(scores))
    return GateCheck("sound_scores", not bad.any(), float(bad.sum()), 0.0, detail)


def _check_agreement(evidence: Evidence, config: GateConfig) -> GateCheck:
    """Ratings that are random, all equal, or reversed half way follow no order; a training on them learns noise.

    A comparison of losses does not find them: the offset of such ratings still lowers the squared error. The learned
    order counts only if the candidate's scores are known for half of the new ratings or more: few ratings agree with
    an order by chance too often.
    """
    new = [rows.after(evidence.boundary) for rows in (evidence.held_out, evidence.new)]
    by_order: dict[str, float] = {}
    taus: dict[str, float] = {}
    num_rated = 0
    for name in ("generic", "active", "candidate"):
        rows_D = np.concatenate([_agreement_rows(rows, name) for rows in new])
        num_rated = max(num_rated, len(rows_D))
        if len(rows_D) >= max(config.min_evidence, num_rated / 2):
            by_order[name] = posterior_of_pairs(rows_D, _AGREEMENT_PRIOR_SD).probability_above(config.min_agreement)
            taus[name] = float(rows_D.mean())
    if not by_order:
        detail = wording.agreement_not_tested(num_rated, config.min_evidence)
        return GateCheck("agreement", True, None, config.min_probability, detail)
    best = max(by_order, key=lambda name: by_order[name])
    probability = by_order[best]
    detail = wording.agreement(num_rated, best, taus[best], config.min_agreement, probability, config.min_probability)
    return GateCheck("agreement", probability >= config.min_probability, probability, config.min_probability, detail)


def _check_shift(evidence: Evidence, config: GateConfig) -> GateCheck:
    before = np.concatenate([evidence.pool_active_PA.ravel(), evidence.held_out.active_NA.ravel()])
    after = np.concatenate([evidence.pool_candidate_PA.ravel(), evidence.held_out.candidate_NA.ravel()])
    if not len(before):
        return GateCheck("trust_region", False, None, config.trust_region, wording.trust_region_not_measured())
    shift = float(np.abs(after.astype(np.float64) - before).mean())
    detail = wording.trust_region(shift, config.trust_region)
    return GateCheck("trust_region", shift <= config.trust_region, shift, config.trust_region, detail)


def _check_loss(gain_D: np.ndarray, config: GateConfig) -> GateCheck:
    probability = posterior_of_mean(gain_D, _LOSS_PRIOR_SD).probability_above(-config.margin)
    detail = wording.loss(len(gain_D), float(gain_D.mean()), config.margin, probability, config.min_probability)
    return GateCheck("loss", probability >= config.min_probability, probability, config.min_probability, detail)


def _check_forgetting(evidence: Evidence, config: GateConfig) -> GateCheck:
    earlier_D = evidence.earlier_gains()
    if len(earlier_D) < config.min_evidence:
        detail = wording.forgetting_not_tested(len(earlier_D), config.min_evidence)
        return GateCheck("forgetting", True, None, config.min_probability, detail)
    probability = posterior_of_mean(earlier_D, _LOSS_PRIOR_SD).probability_above(-config.forgetting_margin)
    gain = float(earlier_D.mean())
    detail = wording.forgetting(len(earlier_D), gain, config.forgetting_margin, probability, config.min_probability)
    return GateCheck("forgetting", probability >= config.min_probability, probability, config.min_probability, detail)


def _check_flips(evidence: Evidence, config: GateConfig) -> GateCheck:
    """On held-out ratings only: leave-one-out predictions are biased away from their own ratings, out of order."""
    held_out = evidence.held_out
    gain_D = pair_gains(held_out.target_NA, held_out.active_NA, held_out.candidate_NA)
    if len(gain_D) < config.min_evidence:
        detail = wording.negative_flips_not_tested(len(gain_D), config.min_evidence)
        return GateCheck("negative_flips", True, None, config.min_probability, detail)
    probability = posterior_of_pairs(gain_D, _FLIP_PRIOR_SD).probability_above(-config.max_negative_flip_rate)
    flips = -float(gain_D.mean())
    detail = wording.negative_flips(flips, config.max_negative_flip_rate, probability, config.min_probability)
    return GateCheck(
        "negative_flips", probability >= config.min_probability, probability, config.min_probability, detail
    )


def _agreement_rows(rows: UnseenRatings, name: str) -> np.ndarray:
    """Agreement of the latest ratings with the order of the "generic", "active" or "candidate" scores, per row."""
    if name == "candidate" and rows.difference_LLA is not None:
        order_NNA = np.sign(rows.difference_LLA[-_MAX_COMPARED:, -_MAX_COMPARED:])
        return agreements(rows.target_NA[len(rows) - len(order_NNA) :], order_NNA)
    score_NA = {"generic": rows.generic_NA, "active": rows.active_NA, "candidate": rows.candidate_NA}[name]
    return agreements(rows.target_NA[-_MAX_COMPARED:], order(score_NA[-_MAX_COMPARED:]))


def _without_candidate(rows: UnseenRatings) -> UnseenRatings:
    return replace(rows, candidate_NA=np.full_like(rows.candidate_NA, np.nan), difference_LLA=None)
