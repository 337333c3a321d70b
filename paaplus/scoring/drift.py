"""Drift detection: a sequential test on the errors of the served scores, rating by rating.

Page-Hinkley: with x_i the errors and mean_t that of the first t,

    m_t = sum over i <= t of (x_i - mean_i - tolerance),    alarm when m_t - min over s <= t of m_s > threshold,

and the event of the minimum is the estimate of when the drift began. Source: Page, "Continuous inspection schemes"
(1954); Hinkley, "Inference about the change-point from cumulative sum tests" (1971); in the running-mean form of Gama
et al., "A survey on concept drift adaptation" (2014), section 3.2. The library `river` has it too, but is large
for twenty lines.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

from paaplus.configs import DriftConfig
from paaplus.records import TIE
from paaplus.scoring.comparisons import TEMPERATURE_PER_NOISE_SD, TIE_WIDTH

NUM_KEPT: Final = 32  # drifts that stay known; they are found at least `min_ratings` answers apart

Found = tuple[int, int | None]  # of a drift: `since` and `found_at` of `DriftState`


@dataclass(frozen=True)
class DriftState:
    """The state of one user's test.

    `since` is the last event before the last drift that was found, `found_at` the event that raised its alarm; None:
    none was found (or, of `found_at`, it was not recorded). `earlier` are the drifts before it, oldest first: one of
    them is in force if the answers that the later ones were found in count no more.
    """

    num_errors: int = 0
    mean: float = 0.0
    excess: float = 0.0  # m_t
    lowest: float = 0.0  # min of m_s
    lowest_at: int = 0  # sequence of the event of that minimum
    since: int | None = None
    found_at: int | None = None
    earlier: tuple[Found, ...] = ()

    def after(self, error: float, sequence: int, config: DriftConfig) -> tuple[Self, bool]:
        """The state after one more error, and whether drift was found. If it was, the test starts again.

        Args:
            error: absolute error of the served score, in score points.
            sequence: of the rating.
            config: tolerance, threshold, and the smallest number of ratings.
        """
        return self.after_all([(sequence, error)], config)

    def after_all(self, errors: Sequence[tuple[int, float]], config: DriftConfig) -> tuple[Self, bool]:
        """The state after these errors (sequence, error), one after the other, and whether any raised the alarm."""
        found = self.found
        num_errors, mean, excess = self.num_errors, self.mean, self.excess
        lowest, lowest_at = self.lowest, self.lowest_at
        for sequence, error in errors:
            num_errors += 1
            mean += (error - mean) / num_errors
            excess = excess + error - mean - config.tolerance
            lowest, lowest_at = min((lowest, lowest_at), (excess, sequence))
            if num_errors >= config.min_ratings and excess - lowest > config.threshold:
                found = (*found, (lowest_at, sequence))
                num_errors, mean, excess, lowest, lowest_at = 0, 0.0, 0.0, 0.0, 0
        state = type(self)(num_errors, mean, excess, lowest, lowest_at, self.since, self.found_at, self.earlier)
        return (state.with_found(found), True) if len(found) > len(self.found) else (state, False)

    @property
    def found(self) -> tuple[Found, ...]:
        """The drifts that were found, oldest first."""
        return self.earlier if self.since is None else (*self.earlier, (self.since, self.found_at))

    def with_found(self, found: Sequence[Found]) -> Self:
        """The state with these drifts, oldest first, of which the newest `NUM_KEPT` stay known."""
        if not found:
            return replace(self, since=None, found_at=None, earlier=())
        *earlier, (since, found_at) = found[-NUM_KEPT:]
        return replace(self, since=since, found_at=found_at, earlier=tuple(earlier))

    def since_valid(self, invalid: Collection[int] = ()) -> int | None:
        """The last event before the newest drift that was found in answers that count still; None: there is none.

        The last drift counts no more if neither the answer that raised the alarm does, nor most of those since the
        change. One before it counts no more if the answer that raised its alarm does not: wrong answers that were set
        aside raise several alarms in a row, the first of them soon after right ones.

        Args:
            invalid: events that count no more, by sequence.
        """
        if self.since is not None and self._counts(invalid):
            return self.since
        return next((since for since, found_at in reversed(self.earlier) if found_at not in invalid), None)

    def _counts(self, invalid: Collection[int]) -> bool:
        """Whether the last drift that was found does."""
        assert self.since is not None, "no drift was found"
        if self.found_at is None or self.found_at not in invalid:
            return True
        raised = range(self.since + 1, self.found_at + 1)
        return 2 * sum(sequence in invalid for sequence in raised) <= len(raised)

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> Self:
        """The state that `to_dict` gave; None: no rating yet. Entries of other names are not read."""
        names = {field.name for field in fields(cls)}
        known = {name: value for name, value in (values or {}).items() if name in names}
        earlier = tuple((since, found_at) for since, found_at in known.pop("earlier", ()))
        return cls(**known, earlier=earlier)


def wrong_by(difference: float, answer: float, noise_sd: float) -> float:
    """By how much served scores contradict an answer about two of them, in score points; 0: they do not.

    Args:
        difference: score of the first image minus that of the second, or minus the person's middle.
        answer: a preference of `ComparedSet`.
        noise_sd: standard deviation of a rating's noise, in score points.
    """
    if answer == TIE:
        return max(abs(difference) - TIE_WIDTH * TEMPERATURE_PER_NOISE_SD * noise_sd, 0.0)
    return max(-difference if answer > TIE else difference, 0.0)
