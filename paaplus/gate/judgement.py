"""The decision on a candidate, from all feedback of the user and from feedback that the candidate was not trained on.

The order check asks whether the user's feedback follows an order at all (`verdict`). Its error does not grow with the
number of candidates. Each other check asks whether the candidate is worse than the active version, or than the generic
scores, by more than a margin. The mean difference of two losses gets a Student-t posterior under a weak prior around
"no difference". A check fails when the probability of being within the margin is too low. docs/decisions/0006-gate.md
and `paaplus evaluate gate` measure how often good and bad candidates pass.

Shape letters: D = differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.configs import GateConfig
from paaplus.gate import wording
from paaplus.gate.check import GateCheck
from paaplus.gate.evidence import Evidence
from paaplus.gate.orders import pair_gains
from paaplus.gate.posterior import posterior_of_mean, posterior_of_pairs
from paaplus.gate.robustness import RobustnessLimits, check_robustness
from paaplus.records import SCORE_MAX, SCORE_MIN

_LOSS_PRIOR_SD = 3.0  # typical difference of two sensible models' squared errors on one rating
_FLIP_PRIOR_SD = 0.25  # the same for the share of a rating's pairs that the models order differently
_COMPARISON_PRIOR_SD = 0.5  # the same for the log losses on one comparison, in nats
_MAX_COMPARED = 200  # of the latest ratings, because the number of pairs grows with the square


@dataclass(frozen=True)
class GateReport:
    """The decision on a candidate. `reason` has one sentence per check, failed ones first."""

    promote: bool
    reason: str
    checks: tuple[GateCheck, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"promote": self.promote, "reason": self.reason, "checks": [dict(vars(check)) for check in self.checks]}


def judge(evidence: Evidence, config: GateConfig) -> GateReport:
    """Decide whether a candidate is promoted.

    These must hold for certain:

        sound_scores    every score is a finite number from 0 to 10
        order           the user's feedback follows an order, with odds of `min_order_odds` for a first version

    These must hold with a probability of `min_probability` or more, where there are `min_evidence` unseen answers:

        loss            squared error is not higher by more than `margin`
        forgetting      the same on earlier increments, by more than `forgetting_margin`
        comparisons     log loss on held-out comparisons is not higher by more than `comparison_margin`
        negative_flips  the share of pairs in the wrong order does not grow by more than `max_negative_flip_rate`
        generic         the same against the generic scores, where they are not what is served

    Two more must hold for certain where the policy has a `robustness_budget`, see `robustness`.
    """
    sound = _check_sound(evidence)
    if not sound.passed:
        return _report([sound])
    checks = [
        sound,
        _check_order(evidence),
        _check_loss(evidence, config),
        _check_forgetting(evidence, config),
        _check_comparisons(evidence, config),
        _check_flips(evidence, config),
    ]
    if evidence.is_live:
        checks.append(_check_generic(evidence, config))
    if evidence.robustness is not None:
        checks += check_robustness(evidence.robustness, RobustnessLimits(config.max_rasr_rise, config.max_msi_rise))
    return _report(checks)


def _report(checks: Sequence[GateCheck]) -> GateReport:
    sound, *others = checks
    by_interest = [*others, sound]  # that all scores are numbers matters least to a reader
    failed = [check.detail for check in by_interest if not check.passed]
    passed = [check.detail for check in by_interest if check.passed]
    return GateReport(not failed, wording.reason(not failed, failed, passed), tuple(checks))


def _check_sound(evidence: Evidence) -> GateCheck:
    scores = np.concatenate([evidence.held_out.candidate_NA.ravel(), evidence.pool_candidate_PA.ravel()])
    bad = ~((scores >= SCORE_MIN) & (scores <= SCORE_MAX))  # also true of NaN
    detail = wording.sound_scores(int(bad.sum()), len(scores))
    return GateCheck("sound_scores", not bad.any(), float(bad.sum()), 0.0, detail)


def _check_order(evidence: Evidence) -> GateCheck:
    """Ratings and answers without an order teach noise, and a comparison of losses does not notice it.

    The offset of random ratings still lowers the squared error.
    """
    verdict = evidence.verdict
    limit = 0.0 if evidence.is_live else verdict.needed
    return GateCheck("order", verdict.may_serve(evidence.is_live), verdict.score, limit, wording.order(verdict, limit))


def _check_loss(evidence: Evidence, config: GateConfig) -> GateCheck:
    gain_D = evidence.gains()
    if len(gain_D) < config.min_evidence:
        detail = wording.loss_not_tested(len(gain_D), config.min_evidence)
        return GateCheck("loss", True, None, config.min_probability, detail)
    probability = posterior_of_mean(gain_D, _LOSS_PRIOR_SD).probability_above(-config.margin)
    detail = wording.loss(len(gain_D), float(gain_D.mean()), config.margin, probability, config.min_probability)
    return GateCheck("loss", probability >= config.min_probability, probability, config.min_probability, detail)


def _check_comparisons(evidence: Evidence, config: GateConfig) -> GateCheck:
    compared, needed = evidence.compared, config.min_probability
    gain_D = compared.gains()
    if len(gain_D) < config.min_evidence:
        detail = wording.comparisons_not_tested(len(gain_D), config.min_evidence)
        return GateCheck("comparisons", True, None, needed, detail)
    probability = posterior_of_mean(gain_D, _COMPARISON_PRIOR_SD).probability_above(-config.comparison_margin)
    shares = compared.right_share(compared.candidate_CA), compared.right_share(compared.generic_CA)
    gain = float(gain_D.mean())
    detail = wording.comparisons(len(gain_D), gain, shares, config.comparison_margin, probability, needed)
    return GateCheck("comparisons", probability >= needed, probability, needed, detail)


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
    return _flips("negative_flips", evidence, evidence.held_out.active_NA, config)


def _check_generic(evidence: Evidence, config: GateConfig) -> GateCheck:
    return _flips("generic", evidence, evidence.held_out.generic_NA, config)


def _flips(name: str, evidence: Evidence, former_NA: np.ndarray, config: GateConfig) -> GateCheck:
    held_out, needed = evidence.held_out, config.min_probability
    latest = slice(-_MAX_COMPARED, None)
    gain_D = pair_gains(held_out.target_NA[latest], former_NA[latest], held_out.candidate_NA[latest])
    if len(gain_D) < config.min_evidence:
        return GateCheck(name, True, None, needed, wording.flips_not_tested(name, len(gain_D), config.min_evidence))
    probability = posterior_of_pairs(gain_D, _FLIP_PRIOR_SD).probability_above(-config.max_negative_flip_rate)
    detail = wording.flips(name, -float(gain_D.mean()), config.max_negative_flip_rate, probability, needed)
    return GateCheck(name, probability >= needed, probability, needed, detail)
