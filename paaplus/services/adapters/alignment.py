"""Which events are excluded while a version is active: none that it was trained on, and after a rollback all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from paaplus.db.tables import UserRow
from paaplus.errors import Conflict
from paaplus.services.feedback import event_numbers, exclusions
from paaplus.services.feedback.counted_events import Version, trained_up_to
from paaplus.services.feedback.event_numbers import EventNumbers
from paaplus.services.feedback.exclusions import Changed


class NumberedVersion(Version, Protocol):
    """A version's row, or some of its columns."""

    @property
    def number(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Aligned:
    """What is to change for one user: events by sequence. `closed`: those whose exclusion ends, released or not."""

    excluded: frozenset[int]
    closed: frozenset[int]
    num_released: int

    @property
    def counts(self) -> dict[str, int]:
        return {"num_excluded": len(self.excluded), "num_released": self.num_released}


def aligned(log: EventNumbers, target: NumberedVersion | None, *, exclude: bool) -> Aligned:
    """What changes when `target` becomes active; None: the base model.

    Excluded events that it was trained on are released; with `exclude`, those that it was not trained on are excluded.

    Raises:
        Conflict: the target was trained on events that the user has retracted; the next training would replace it.
    """
    up_to = trained_up_to(target)
    trained = log.trained(up_to)
    if target is not None and (retracted := sorted(trained & set(log.retractions))):
        raise Conflict(
            f"adapter version {target.number} was trained on event(s) {retracted}, which the user has retracted since; "
            f"choose an earlier version"
        )
    released = trained & log.excluded()
    # A quarantine may end by itself. What a person excludes stays excluded.
    excluded = log.untrained(up_to) - (log.excluded() - log.quarantined()) if exclude else set()
    return Aligned(frozenset(excluded), frozenset(released | (excluded & log.quarantined())), len(released))


def write(
    session: Session, changes: Sequence[tuple[UserRow, EventNumbers, Aligned]], *, actor: str, reason: str
) -> None:
    """Write what changes for several (locked) users. The caller must count their epochs up afterwards."""
    closed = [Changed(user, [log.id_of[n] for n in sorted(each.closed)]) for user, log, each in changes]
    excluded = [Changed(user, [log.id_of[n] for n in sorted(each.excluded)]) for user, log, each in changes]
    exclusions.close_many(session, closed, actor=actor)
    exclusions.exclude_many(session, excluded, actor=actor, reason=reason)


def release(session: Session, user: UserRow, target: NumberedVersion, *, actor: str) -> dict[str, int]:
    """Release the excluded events that `target` was trained on, and tell how many.

    Raises:
        Conflict: see `aligned`.
    """
    log = event_numbers.read_many(session, [user])[user.id]
    change = aligned(log, target, exclude=False)
    write(session, [(user, log, change)], actor=actor, reason="")
    return change.counts
