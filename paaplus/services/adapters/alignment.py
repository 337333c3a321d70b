"""Which events are excluded while a version is active: none that it was trained on, and after a rollback all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from paaplus.db.tables import UserRow
from paaplus.errors import Conflict
from paaplus.services.feedback import event_numbers, exclusions
from paaplus.services.feedback.counted_events import Version, trained_up_to
from paaplus.services.feedback.event_numbers import EventNumbers
from paaplus.services.feedback.exclusions import Changed
from paaplus.services.feedback.runs import runs_of


class NumberedVersion(Version, Protocol):
    """A version's row, or some of its columns."""

    @property
    def number(self) -> int: ...


class Aligned(NamedTuple):
    """What is to change for one user: runs whose exclusion begins, and runs whose exclusion ends, released or not."""

    num_excluded: int
    num_released: int
    excluded: Sequence[range] = ()
    closed: Sequence[range] = ()

    @property
    def counts(self) -> dict[str, int]:
        return {"num_excluded": self.num_excluded, "num_released": self.num_released}


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
    closed = released | (excluded & log.quarantined())
    return Aligned(len(excluded), len(released), runs_of(excluded), runs_of(closed))


def aligned_without_exceptions(target: Version | None, last_sequence: int, *, exclude: bool) -> Aligned:
    """As `aligned`, of a user without exceptions: see `event_numbers.with_exceptions`. The log is not read.

    Args:
        target: the version that becomes active; None: the base model.
        last_sequence: of the user's last event.
    """
    later = range(trained_up_to(target).high_water + 1, last_sequence + 1)
    return Aligned(len(later), 0, [later]) if exclude and later else Aligned(0, 0)


def write(session: Session, changes: Sequence[tuple[UUID, int, Aligned]], *, actor: str, reason: str) -> None:
    """Write what changes for several (locked) users. The caller must count their epochs up afterwards.

    Args:
        changes: of each user, with the epoch.
    """
    closed = (Changed(user_id, epoch, each.closed) for user_id, epoch, each in changes)
    excluded = (Changed(user_id, epoch, each.excluded) for user_id, epoch, each in changes)
    exclusions.close_many(session, closed, actor=actor)
    exclusions.exclude_many(session, excluded, actor=actor, reason=reason)


def release(session: Session, user: UserRow, target: NumberedVersion, *, actor: str) -> dict[str, int]:
    """Release the excluded events that `target` was trained on, and tell how many.

    Raises:
        Conflict: see `aligned`.
    """
    log = event_numbers.read_many(session, [user.id])[user.id]
    change = aligned(log, target, exclude=False)
    write(session, [(user.id, user.epoch, change)], actor=actor, reason="")
    return change.counts
