"""The decision on a candidate, from what neither it nor the active version had learned from.

The mean difference of two losses gets a Student-t posterior under a weak prior around "no difference"; a check fails
when harm beyond its margin is too probable. With too few unseen ratings the outcome is declared by the size of the
change instead of by noise. How often this lets good and bad candidates pass is measured in docs/decisions/0006-gate.md
and by `paaplus evaluate gate`.

Shape letters: D = differences.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from paaplus.configs import GateConfig
from paaplus.gate.evidence import Evidence, Unseen
from paaplus.gate.orders import agreements, order, pair_gains
from paaplus.gate.posterior import posterior_of_mean, posterior_of_pairs
from paaplus.records import SCORE_MAX, SCORE_MIN

_LOSS_PRIOR_SD = 3.0  # how far two sensible models' squared errors on one rating typically lie apart
_FLIP_PRIOR_SD = 0.25  # the same for the share of a rating's pairs that are ordered differently
_AGREEMENT_PRIOR_SD = 0.4  # of one rating's agreement with an order
_MAX_COMPARED = 200  # the latest ratings; pairs of more cost time and say little more


@dataclass(frozen=True)
class GateCheck:
    """One question and its answer; `value` is None where there was nothing to measure."""

    name: str
    passed: bool
    value: float | None
    limit: float
    detail: str


@dataclass(frozen=True)
class GateReport:
    """The decision, in words and in numbers."""

    promote: bool
    reason: str
    checks: tuple[GateCheck, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"promote": self.promote, "reason": self.reason, "checks": [asdict(check) for check in self.checks]}


def follows_what_was_known(evidence: Evidence, config: GateConfig) -> bool:
    """True if new ratings follow the order that was served or the generic one, whatever the candidate makes of them."""
    without = replace(
        evidence, held_out=_without_candidate(evidence.held_out), fresh=_without_candidate(evidence.fresh)
    )
    return _check_agreement(without, config).passed


def judge(evidence: Evidence, config: GateConfig) -> GateReport:
    """Decide on a candidate.

    It must be finite and in range, and the ratings since the active version must follow some order: the one that was
    served, the generic or the learned one, to a degree of `min_agreement`. Given `min_evidence` unseen ratings, it
    must not be worse overall by more than `margin`, nor on earlier increments by more than `forgetting_margin`, nor
    order pairs worse by more than `max_negative_flip_rate`. Each must hold with probability `min_probability` at
    least. With less evidence, the scores must move by `trust_region` at most on average.
    """
    sound = _check_sound(evidence)
    if not sound.passed:
        return GateReport(False, f"Refused: {sound.detail}.", (sound,))
    agreement = _check_agreement(evidence, config)
    gain_D = evidence.gains()
    checks: tuple[GateCheck, ...]
    if len(gain_D) < config.min_evidence:
        shift = _check_shift(evidence, config)
        checks = (sound, shift, agreement)
        few = f"only {len(gain_D)} unseen rating(s) to judge by, {config.min_evidence} needed"
    else:
        checks = (
            sound,
            _check_loss(gain_D, config),
            _check_forgetting(evidence, config),
            _check_flips(evidence, config),
            agreement,
        )
        few = ""
    failed = [check for check in checks if not check.passed]
    told = failed or checks[1:]
    words = "; ".join([few] * bool(few) + [check.detail for check in told])
    return GateReport(not failed, f"{'Refused' if failed else 'Promoted'}: {words}.", checks)


def _check_sound(evidence: Evidence) -> GateCheck:
    scores = np.concatenate([evidence.held_out.candidate_NA.ravel(), evidence.pool_candidate_PA.ravel()])
    bad = ~((scores >= SCORE_MIN) & (scores <= SCORE_MAX))  # also true of NaN
    detail = f"{int(bad.sum())} of {len(scores)} scores are not numbers from {SCORE_MIN:g} to {SCORE_MAX:g}"
    return GateCheck("sound_scores", not bad.any(), float(bad.sum()), 0.0, detail)


def _check_agreement(evidence: Evidence, config: GateConfig) -> GateCheck:
    """Ratings in random order, all alike, or turned around half way follow nothing: what is learned of them is noise.

    Their offset would still lower the squared error, which is why no comparison of losses sees it. The learned order
    counts where the candidate is known on half of the new ratings at least: a few would agree by chance too often.
    """
    new = [rows.after(evidence.boundary) for rows in (evidence.held_out, evidence.fresh)]
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
        detail = f"{num_rated} new ratings, too few to see whether they follow an order"
        return GateCheck("agreement", True, None, config.min_probability, detail)
    best = max(by_order, key=lambda name: by_order[name])
    probability = by_order[best]
    detail = (
        f"{num_rated} new ratings follow the {best} order best, to a degree of {taus[best]:.2f}, "
        f"no less than {config.min_agreement:g} with probability {probability:.2f}"
    )
    return GateCheck("agreement", probability >= config.min_probability, probability, config.min_probability, detail)


def _check_shift(evidence: Evidence, config: GateConfig) -> GateCheck:
    before = np.concatenate([evidence.pool_active_PA.ravel(), evidence.held_out.active_NA.ravel()])
    after = np.concatenate([evidence.pool_candidate_PA.ravel(), evidence.held_out.candidate_NA.ravel()])
    if not len(before):
        detail = "no image to measure the size of the change on"
        return GateCheck("trust_region", False, None, config.trust_region, detail)
    shift = float(np.abs(after.astype(np.float64) - before).mean())
    inside = shift <= config.trust_region
    detail = (
        f"scores move by {shift:.2f} on average, {'within' if inside else 'beyond'} the trusted {config.trust_region:g}"
    )
    return GateCheck("trust_region", inside, shift, config.trust_region, detail)


def _check_loss(gain_D: np.ndarray, config: GateConfig) -> GateCheck:
    probability = posterior_of_mean(gain_D, _LOSS_PRIOR_SD).probability_above(-config.margin)
    gain = float(gain_D.mean())
    detail = (
        f"on {len(gain_D)} unseen ratings squared error is {abs(gain):.2f} {'lower' if gain >= 0 else 'higher'}, "
        f"no worse by more than {config.margin:g} with probability {probability:.2f}"
    )
    return GateCheck("loss", probability >= config.min_probability, probability, config.min_probability, detail)


def _check_forgetting(evidence: Evidence, config: GateConfig) -> GateCheck:
    earlier_D = evidence.earlier_gains()
    if len(earlier_D) < config.min_evidence:
        detail = f"{len(earlier_D)} unseen ratings of earlier increments, too few to see forgetting"
        return GateCheck("forgetting", True, None, config.min_probability, detail)
    probability = posterior_of_mean(earlier_D, _LOSS_PRIOR_SD).probability_above(-config.forgetting_margin)
    gain = float(earlier_D.mean())
    detail = (
        f"on {len(earlier_D)} of earlier increments it is {abs(gain):.2f} {'lower' if gain >= 0 else 'higher'}, "
        f"no worse by more than {config.forgetting_margin:g} with probability {probability:.2f}"
    )
    return GateCheck("forgetting", probability >= config.min_probability, probability, config.min_probability, detail)


def _check_flips(evidence: Evidence, config: GateConfig) -> GateCheck:
    """Leave-one-out predictions stay out of this: each leans away from its own rating, which spoils orders."""
    held_out = evidence.held_out
    gain_D = pair_gains(held_out.target_NA, held_out.active_NA, held_out.candidate_NA)
    if len(gain_D) < config.min_evidence:
        detail = f"{len(gain_D)} held-out ratings, too few to compare orders"
        return GateCheck("negative_flips", True, None, config.min_probability, detail)
    probability = posterior_of_pairs(gain_D, _FLIP_PRIOR_SD).probability_above(-config.max_negative_flip_rate)
    flips = -float(gain_D.mean())
    detail = (
        f"{abs(flips):.1%} of pairs net turn {'wrong' if flips > 0 else 'right'}, "
        f"no more than {config.max_negative_flip_rate:.0%} wrong with probability {probability:.2f}"
    )
    return GateCheck(
        "negative_flips", probability >= config.min_probability, probability, config.min_probability, detail
    )


def _agreement_rows(rows: Unseen, name: str) -> np.ndarray:
    """Agreement of the latest ratings with the order of one of the three scores, row by row."""
    if name == "candidate" and rows.difference_LLA is not None:
        order_NNA = np.sign(rows.difference_LLA[-_MAX_COMPARED:, -_MAX_COMPARED:])
        return agreements(rows.target_NA[len(rows) - len(order_NNA) :], order_NNA)
    score_NA = {"generic": rows.generic_NA, "active": rows.active_NA, "candidate": rows.candidate_NA}[name]
    return agreements(rows.target_NA[-_MAX_COMPARED:], order(score_NA[-_MAX_COMPARED:]))


def _without_candidate(rows: Unseen) -> Unseen:
    return replace(rows, candidate_NA=np.full_like(rows.candidate_NA, np.nan), difference_LLA=None)
