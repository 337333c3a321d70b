"""Which events of a user's log count, and which of them a version was trained on: by sequence number alone.

An event counts unless it was retracted or is excluded. What it says does not matter here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

GATE = "gate"  # as the actor of an exclusion: a quarantine


@dataclass(frozen=True, slots=True)
class ExclusionSpan:
    """An exclusion of the events from `first` to `last`, and the user's epochs from which and until which it held.

    None as `until_epoch`: it still holds. A *quarantine* is an exclusion that the gate made.
    """

    first: int
    last: int
    since_epoch: int
    until_epoch: int | None
    actor: str = ""
    released_by: str | None = None

    @property
    def sequences(self) -> range:
        return range(self.first, self.last + 1)


@dataclass(frozen=True, slots=True)
class TrainedUpTo:
    """What a version was trained on: the events up to sequence `high_water` that were valid in `epoch`."""

    high_water: int
    epoch: int


TRAINED_ON_NOTHING = TrainedUpTo(0, 0)  # the base model


class Version(Protocol):
    """A version's row, or some of its columns."""

    @property
    def high_water_sequence(self) -> int: ...

    @property
    def epoch(self) -> int: ...


def trained_up_to(version: Version | None) -> TrainedUpTo:
    """What a version was trained on; None: the base model."""
    return TRAINED_ON_NOTHING if version is None else TrainedUpTo(version.high_water_sequence, version.epoch)


class CountedEvents:
    """What the numbers of a log's events tell. A subclass has the numbers.

    Attributes:
        retractions: the sequence of each retracted event, and that of its retraction.
        exclusions: all, also those that ended.
    """

    retractions: dict[int, int]
    exclusions: Sequence[ExclusionSpan]

    def trainable(self) -> set[int]:
        """All events except retractions, by sequence."""
        raise NotImplementedError

    def is_tainted(self, trained_up_to: TrainedUpTo) -> bool:
        """Whether a version was trained on events that have been retracted or excluded since."""
        invalid = self.invalid()
        return bool(invalid) and bool(self.trained(trained_up_to) & invalid)

    def trained(self, trained_up_to: TrainedUpTo) -> set[int]:
        """All events except retractions that a version was trained on, by sequence."""
        if self.is_plain:
            return {sequence for sequence in self.trainable() if sequence <= trained_up_to.high_water}
        return {sequence for sequence in self.trainable() if self.was_trained_on(trained_up_to, sequence)}

    def untrained(self, trained_up_to: TrainedUpTo) -> set[int]:
        """All events except retractions that a version was not trained on, by sequence."""
        return self.trainable() - self.trained(trained_up_to)

    def invalid(self) -> set[int]:
        """Events that count no more, by sequence: they were retracted, or are excluded."""
        return self.excluded() | set(self.retractions)

    def excluded(self) -> set[int]:
        """Events that are excluded now, by sequence."""
        return _sequences(span for span in self.exclusions if span.until_epoch is None)

    def quarantined(self) -> set[int]:
        """Events that the gate excludes now, by sequence."""
        return _sequences(span for span in self.exclusions if span.until_epoch is None and span.actor == GATE)

    def vouched_for(self) -> set[int]:
        """Events that a person released from a quarantine, by sequence: the gate leaves them alone from then on."""
        released = (span for span in self.exclusions if span.actor == GATE and span.released_by not in (None, GATE))
        return _sequences(released) - self.excluded()

    def was_trained_on(self, trained_up_to: TrainedUpTo, sequence: int) -> bool:
        """Whether a version was trained on an event."""
        if sequence > trained_up_to.high_water:
            return False
        retracted_at = self.retractions.get(sequence)
        if retracted_at is not None and retracted_at <= trained_up_to.high_water:
            return False  # the training read the retraction too
        return not any(
            span.since_epoch <= trained_up_to.epoch
            and (span.until_epoch is None or span.until_epoch > trained_up_to.epoch)
            for span in self._spans_of.get(sequence, ())
        )

    @property
    def is_plain(self) -> bool:
        """Whether all events count, as of most users."""
        return not self.exclusions and not self.retractions

    @cached_property
    def _spans_of(self) -> dict[int, list[ExclusionSpan]]:
        spans: dict[int, list[ExclusionSpan]] = {}
        for span in self.exclusions:
            for sequence in span.sequences:
                spans.setdefault(sequence, []).append(span)
        return spans


def _sequences(spans: Iterable[ExclusionSpan]) -> set[int]:
    return set[int]().union(*(span.sequences for span in spans))
