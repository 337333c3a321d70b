"""The gate: may a candidate adapter go live in place of the active one?

Both sides have scored ratings that neither had learned from. The mean difference of their losses gets a Student-t
posterior under a weak prior around "no difference"; a check fails when harm beyond its margin is too probable. With
too few such ratings the outcome is declared by the size of the change instead of by noise. How often this lets good
and bad candidates pass is measured in docs/decisions/0006-gate.md.

Shape letters: N = unseen ratings, A = aspects, P = images of a pool, D = differences.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr

from paaplus.configs import GateConfig
from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX, SCORE_MIN

# The weak prior on a mean difference: worth one observation of no difference, its spread worth two.
_PRIOR_OBSERVATIONS = 1.0
_PRIOR_DEGREES = 2.0
_LOSS_PRIOR_SD = 3.0  # how far two sensible models' squared errors on one rating typically lie apart
_FLIP_PRIOR_SD = 0.25  # the same for the share of a rating's pairs that are ordered differently


@dataclass(frozen=True)
class Evidence:
    """Scores of the active and the candidate version beside what the user said; NaN targets where nothing was said.

    The first columns are held-out ratings of all increments. The `prequential_*` columns, all or none, are training
    ratings (another N) whose active score was fixed before anything learned from them and whose candidate score is a
    leave-one-out prediction, NaN where there is none.

    Raises:
        InvalidInput: columns of different lengths, or some of the prequential ones missing.
    """

    sequence_N: np.ndarray
    target_NA: np.ndarray
    active_NA: np.ndarray
    candidate_NA: np.ndarray
    boundary: int  # the active version's high-water mark: rows up to it belong to earlier increments
    pool_active_PA: np.ndarray
    pool_candidate_PA: np.ndarray
    prequential_sequence_N: np.ndarray | None = None
    prequential_target_NA: np.ndarray | None = None
    prequential_active_NA: np.ndarray | None = None
    prequential_candidate_NA: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_shapes("held-out", self.sequence_N, self.target_NA, self.active_NA, self.candidate_NA)
        if self.pool_active_PA.shape != self.pool_candidate_PA.shape:
            raise InvalidInput(f"pool scores of {self.pool_active_PA.shape} and {self.pool_candidate_PA.shape}")
        given = [
            column
            for column in (
                self.prequential_sequence_N,
                self.prequential_target_NA,
                self.prequential_active_NA,
                self.prequential_candidate_NA,
            )
            if column is not None
        ]
        if given:
            if len(given) != 4:
                raise InvalidInput(f"prequential evidence needs 4 columns together, got {len(given)}")
            _check_shapes("prequential", *given)

    def gains(self) -> np.ndarray:
        """Squared error of the active minus that of the candidate per unseen rating, mean over its aspects."""
        gain_N = _gains(self.target_NA, self.active_NA, self.candidate_NA)
        if (
            self.prequential_target_NA is None
            or self.prequential_active_NA is None
            or self.prequential_candidate_NA is None
        ):
            return gain_N
        more_N = _gains(self.prequential_target_NA, self.prequential_active_NA, self.prequential_candidate_NA)
        return np.concatenate([gain_N, more_N])

    def earlier_gains(self) -> np.ndarray:
        """The same for held-out ratings of earlier increments."""
        earlier_N = self.sequence_N <= self.boundary
        return _gains(self.target_NA[earlier_N], self.active_NA[earlier_N], self.candidate_NA[earlier_N])


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


@dataclass(frozen=True)
class Posterior:
    """Student-t posterior of a mean difference."""

    mean: float
    scale: float
    degrees: float

    def probability_above(self, limit: float) -> float:
        return float(stdtr(self.degrees, (self.mean - limit) / self.scale))


def posterior_of_mean(difference_D: np.ndarray, prior_sd: float) -> Posterior:
    """The mean of independent differences under a normal-inverse-gamma prior around 0.

    Source: Murphy, "Conjugate Bayesian analysis of the Gaussian distribution" (2007), section 6; degrees here are
    2 alpha, and the prior is kappa = 1, alpha = 1, beta = prior_sd^2.
    """
    num = len(difference_D)
    kappa = _PRIOR_OBSERVATIONS + num
    degrees = _PRIOR_DEGREES + num
    mean = float(difference_D.sum() / kappa)
    sample_mean = float(difference_D.mean()) if num else 0.0
    spread = (
        _PRIOR_DEGREES * prior_sd**2
        + float(np.square(difference_D - sample_mean).sum())
        + _PRIOR_OBSERVATIONS * num / kappa * sample_mean**2
    )
    return Posterior(mean, float(np.sqrt(spread / degrees / kappa)), degrees)


def judge(evidence: Evidence, config: GateConfig) -> GateReport:
    """Decide on a candidate.

    It must be finite and in range. Then, given `min_evidence` ratings, it must not be worse overall by more than
    `margin`, nor on earlier increments by more than `forgetting_margin`, nor order pairs worse by more than
    `max_negative_flip_rate`, each with probability `min_probability` at least. With less evidence it goes live if
    its scores move by `trust_region` at most on average.
    """
    sound = _check_sound(evidence)
    if not sound.passed:
        return GateReport(False, f"Refused: {sound.detail}.", (sound,))
    gain_D = evidence.gains()
    if len(gain_D) < config.min_evidence:
        shift = _check_shift(evidence, config)
        verdict = "Promoted" if shift.passed else "Refused"
        reason = (
            f"{verdict}: only {len(gain_D)} unseen rating(s) to judge by, {config.min_evidence} needed; {shift.detail}."
        )
        return GateReport(shift.passed, reason, (sound, shift))
    checks = (
        sound,
        _check_loss(gain_D, config),
        _check_forgetting(evidence, config),
        _check_flips(evidence, config),
    )
    failed = [check for check in checks if not check.passed]
    if failed:
        return GateReport(False, f"Refused: {'; '.join(check.detail for check in failed)}.", checks)
    return GateReport(True, f"Promoted: {'; '.join(check.detail for check in checks[1:])}.", checks)


def _check_sound(evidence: Evidence) -> GateCheck:
    scores = np.concatenate([evidence.candidate_NA.ravel(), evidence.pool_candidate_PA.ravel()])
    bad = ~((scores >= SCORE_MIN) & (scores <= SCORE_MAX))  # also true of NaN
    detail = f"{int(bad.sum())} of {len(scores)} scores are not numbers from {SCORE_MIN:g} to {SCORE_MAX:g}"
    return GateCheck("sound_scores", not bad.any(), float(bad.sum()), 0.0, detail)


def _check_shift(evidence: Evidence, config: GateConfig) -> GateCheck:
    before = np.concatenate([evidence.pool_active_PA.ravel(), evidence.active_NA.ravel()])
    after = np.concatenate([evidence.pool_candidate_PA.ravel(), evidence.candidate_NA.ravel()])
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
    gain_D = _pair_gains(evidence.target_NA, evidence.active_NA, evidence.candidate_NA)
    if len(gain_D) < config.min_evidence:
        detail = f"{len(gain_D)} held-out ratings, too few to compare orders"
        return GateCheck("negative_flips", True, None, config.min_probability, detail)
    posterior = posterior_of_mean(gain_D, _FLIP_PRIOR_SD)
    # Every pair is in two ratings' means, which doubles the standard error of a mean over ratings.
    doubled = Posterior(posterior.mean, 2.0 * posterior.scale, posterior.degrees)
    probability = doubled.probability_above(-config.max_negative_flip_rate)
    flips = -float(gain_D.mean())
    detail = (
        f"{abs(flips):.1%} of pairs net turn {'wrong' if flips > 0 else 'right'}, "
        f"no more than {config.max_negative_flip_rate:.0%} wrong with probability {probability:.2f}"
    )
    return GateCheck(
        "negative_flips", probability >= config.min_probability, probability, config.min_probability, detail
    )


def _gains(target_NA: np.ndarray, active_NA: np.ndarray, candidate_NA: np.ndarray) -> np.ndarray:
    """Active's squared error minus the candidate's, mean over aspects, of the rows where any aspect counts."""
    target_NA = target_NA.astype(np.float64)
    gain_NA = np.square(active_NA - target_NA) - np.square(candidate_NA - target_NA)
    counted_NA = ~np.isnan(gain_NA)
    gain_NA, counted_NA = gain_NA[counted_NA.any(axis=1)], counted_NA[counted_NA.any(axis=1)]
    return np.where(counted_NA, gain_NA, 0.0).sum(axis=1) / counted_NA.sum(axis=1)


def _pair_gains(target_NA: np.ndarray, active_NA: np.ndarray, candidate_NA: np.ndarray) -> np.ndarray:
    """Per row that is in a pair: the share of its pairs that the candidate orders right, minus the active's share.

    A pair is two rows that the user told apart in one aspect; equal scores count as half right.
    """
    target_NNA = np.sign(target_NA[:, None] - target_NA[None])
    counted_NNA = np.nan_to_num(target_NNA) != 0
    gain_NNA = (_order(candidate_NA) - _order(active_NA)) * np.nan_to_num(target_NNA) / 2.0
    count_N = counted_NNA.sum(axis=(1, 2))
    total_N = np.where(counted_NNA, gain_NNA, 0.0).sum(axis=(1, 2))
    return (total_N[count_N > 0] / count_N[count_N > 0]).astype(np.float64)


def _order(score_NA: np.ndarray) -> np.ndarray:
    return np.sign(score_NA[:, None] - score_NA[None])


def _check_shapes(name: str, sequence_N: np.ndarray, *columns_NA: np.ndarray) -> None:
    shapes = [column.shape for column in columns_NA]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2 or shapes[0][0] != len(sequence_N):
        raise InvalidInput(f"{name} evidence: {len(sequence_N)} sequence numbers, scores and targets of {shapes}")
