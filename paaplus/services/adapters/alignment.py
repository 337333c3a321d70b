"""Which events are excluded while a version is active: none that it was trained on, and after a rollback all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from paaplus.db.tables import UserRow
from paaplus.errors import Conflict
from paaplus.services.feedback import event_numbers, exclusions
from paaplus.services.feedback.counted_events import Version, trained_up_to
from paaplus.services.feedback.event_numbers import EventNumbers
from paaplus.services.feedback.exclusions import Changed, Later


class NumberedVersion(Version, Protocol):
    """A version's row, or some of its columns."""

    @property
    def number(self) -> int: ...


class Aligned(NamedTuple):
    """What is to change for one user.

    `all_after`: the sequence number after which all events are excluded; None: `excluded` are, by id. `closed`: events
    whose exclusion ends, released or not, by id. Ids are as the driver gives them.
    """

    num_excluded: int
    num_released: int
    excluded: Sequence[Any] = ()
    closed: Sequence[Any] = ()
    all_after: int | None = None

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
    excluded_ids, closed_ids = ([log.id_of[n] for n in sorted(numbers)] for numbers in (excluded, closed))
    return Aligned(len(excluded), len(released), excluded_ids, closed_ids)


def aligned_without_exceptions(
    session: Session, targets: Mapping[UUID, NumberedVersion | None], *, exclude: bool
) -> dict[UUID, Aligned]:
    """As `aligned`, of users without exceptions: see `event_numbers.with_exceptions`. Their logs are not read.

    Args:
        targets: by user.
    """
    if not exclude or not targets:
        return dict.fromkeys(targets, Aligned(0, 0))
    high_water = {user_id: trained_up_to(target).high_water for user_id, target in targets.items()}
    counts = event_numbers.count_after(session, high_water)
    return {user_id: Aligned(counts[user_id], 0, all_after=last) for user_id, last in high_water.items()}


def write(session: Session, changes: Sequence[tuple[UUID, int, Aligned]], *, actor: str, reason: str) -> None:
    """Write what changes for several (locked) users. The caller must count their epochs up afterwards.

    Args:
        changes: of each user, with the epoch.
    """
    by_id, later = [], []
    for user_id, epoch, each in changes:
        if each.all_after is None:
            by_id.append((Changed(user_id, epoch, each.closed), Changed(user_id, epoch, each.excluded)))
        else:
            later.append(Later(user_id, epoch, each.all_after))
    exclusions.close_many(session, [closed for closed, _ in by_id], actor=actor)
    exclusions.exclude_many(session, [excluded for _, excluded in by_id], actor=actor, reason=reason)
    exclusions.exclude_later(session, later, actor=actor, reason=reason)


def release(session: Session, user: UserRow, target: NumberedVersion, *, actor: str) -> dict[str, int]:
    """Release the excluded events that `target` was trained on, and tell how many.

    Raises:
        Conflict: see `aligned`.
    """
    log = event_numbers.read_many(session, [user.id])[user.id]
    change = aligned(log, target, exclude=False)
    write(session, [(user.id, user.epoch, change)], actor=actor, reason="")
    return change.counts
