"""Adapter versions: list, compare, promote, pin and roll back. `point` moves the active pointer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from paaplus import faults
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, RunRow, UserRow
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.users import locked_user
from paaplus.errors import Conflict, InvalidInput, NotFound
from paaplus.services import audit, events, scheduling
from paaplus.services import history as pointer_history
from paaplus.services.feedback import exclusions, feedback_log

BASE: Final = "base"  # as target of a rollback: no adapter, the base model's generic scores
MATCHED_NUMBER: Final = 0  # of the version that a match makes before any training
_ACTIVE: Final = sa.select(AdapterRow).where(
    AdapterRow.user_id == sa.bindparam("user_id"), AdapterRow.state == AdapterState.ACTIVE
)
_ACTIVE_KEYS: Final = sa.select(AdapterRow.user_id, AdapterRow.id, AdapterRow.number).where(
    AdapterRow.user_id.in_(sa.bindparam("user_ids", expanding=True)), AdapterRow.state == AdapterState.ACTIVE
)
_RETIRE: Final = (
    sa.update(AdapterRow)
    .where(AdapterRow.id.in_(sa.bindparam("version_ids", expanding=True)))
    .values(state=AdapterState.RETIRED)
    .execution_options(synchronize_session=False)
)


class Key(NamedTuple):
    """Id and number of a version; None: the base model."""

    id: UUID | None
    number: int | None


NO_VERSION: Final = Key(None, None)


@dataclass(frozen=True, slots=True)
class Move:
    """An entry of the history about versions."""

    user_id: UUID
    move: PointerMove
    current: Key
    target: Key
    actor: str
    reason: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PointerChange:
    """A move of the pointer. Numbers are version numbers; None: the base model."""

    user_id: UUID
    from_number: int | None
    to_number: int | None
    num_excluded: int = 0
    num_released: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions with their metrics side by side."""

    a: AdapterRow
    b: AdapterRow
    metrics: dict[str, tuple[Any, Any]]


def active(session: Session, user_id: UUID) -> AdapterRow | None:
    """The active version; None: the user gets generic scores."""
    return session.execute(_ACTIVE, {"user_id": user_id}).scalar_one_or_none()


def active_of(session: Session, user_ids: Collection[UUID]) -> dict[UUID, AdapterRow]:
    """The active versions of those of the users who have one, with their bytes."""
    query = (
        sa.select(AdapterRow)
        .where(AdapterRow.user_id.in_(user_ids), AdapterRow.state == AdapterState.ACTIVE)
        .options(undefer(AdapterRow.data), undefer(AdapterRow.learner_state))
    )
    return {row.user_id: row for row in session.execute(query).scalars()}


def list_versions(session: Session, user_id: UUID) -> list[AdapterRow]:
    """The user's versions, newest first."""
    query = sa.select(AdapterRow).where(AdapterRow.user_id == user_id).order_by(AdapterRow.number.desc())
    return list(session.execute(query).scalars())


def get_version(session: Session, user_id: UUID, number: int) -> AdapterRow:
    """One version.

    Raises:
        NotFound: this user has no version of that number.
    """
    row = session.execute(
        sa.select(AdapterRow).where(AdapterRow.user_id == user_id, AdapterRow.number == number)
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(f"adapter version {number} of user {user_id} does not exist")
    return row


def compare(session: Session, user_id: UUID, a: int, b: int) -> Comparison:
    """Compare two versions of one user, metric by metric."""
    row_a, row_b = get_version(session, user_id, a), get_version(session, user_id, b)
    names = sorted(set(row_a.metrics) | set(row_b.metrics))
    return Comparison(row_a, row_b, {n: (row_a.metrics.get(n), row_b.metrics.get(n)) for n in names})


def history(session: Session, user_id: UUID) -> Sequence[AdapterHistoryRow]:
    """The history of the user's pointer, newest first."""
    query = (
        sa.select(AdapterHistoryRow).where(AdapterHistoryRow.user_id == user_id).order_by(AdapterHistoryRow.id.desc())
    )
    return session.execute(query).scalars().all()


def runs(session: Session, user_id: UUID, limit: int = 100) -> Sequence[RunRow]:
    """The user's trainings, newest first."""
    query = sa.select(RunRow).where(RunRow.user_id == user_id).order_by(RunRow.id.desc()).limit(limit)
    return session.execute(query).scalars().all()


def promote(session: Session, user_id: UUID, number: int, *, actor: str, reason: str) -> PointerChange:
    """Make a version active, whatever the gate decided. Excluded events that it was trained on are released.

    Raises:
        NotFound: no such user or version.
        Conflict: it is active already, or was trained on events that the user has retracted.
    """
    user = locked_user(session, user_id)
    target = get_version(session, user_id, number)
    current = active(session, user_id)
    if current is not None and current.id == target.id:
        raise Conflict(f"adapter version {number} is active already")
    aligned = _align_feedback(session, user, target, actor=actor, reason=reason, exclude=False)
    point(session, current, target)
    _record_move(session, user, PointerMove.PROMOTED, current, target, actor, reason, aligned)
    return PointerChange(user_id, _number(current), number, **aligned)


def pin(session: Session, user_id: UUID, number: int, *, actor: str, reason: str) -> PointerChange:
    """Make a version active and keep it. Trainings continue, but no new version becomes active until `unpin`.

    Raises:
        NotFound: no such user or version.
        Conflict: it is pinned already, or it was trained on events that the user has retracted.
    """
    user = locked_user(session, user_id)
    target = get_version(session, user_id, number)
    current = active(session, user_id)
    if user.pinned and current is not None and current.id == target.id:
        raise Conflict(f"adapter version {number} is active and pinned already")
    aligned = _align_feedback(session, user, target, actor=actor, reason=reason, exclude=False)
    if current is None or current.id != target.id:
        point(session, current, target)
    user.pinned = True
    _record_move(session, user, PointerMove.PINNED, current, target, actor, reason, aligned)
    return PointerChange(user_id, _number(current), number, **aligned)


def unpin(session: Session, user_id: UUID, *, actor: str, reason: str) -> PointerChange:
    """Let the gate move the pointer again.

    Raises:
        Conflict: the user is not pinned.
    """
    user = locked_user(session, user_id)
    if not user.pinned:
        raise Conflict(f"user {user_id} is not pinned")
    current = active(session, user_id)
    user.pinned = False
    _record_move(session, user, PointerMove.UNPINNED, current, current, actor, reason, {})
    return PointerChange(user_id, _number(current), _number(current))


def rollback(
    session: Session,
    user_id: UUID,
    *,
    to: int | Literal["base"] | None = None,
    active_number: int | None = None,
    feedback: Literal["exclude", "keep"] = "exclude",
    actor: str,
    reason: str,
) -> PointerChange:
    """Make an earlier version active again. Its stored bytes are served, so scores return bit for bit.

    Repeating a call goes no further back: with `to` or `active_number` it is a conflict, and without both it is one if
    the last change of the active version was a rollback.

    Args:
        to: version number; "base": no version, generic scores; None: the active version's parent. 0 is the version
            that a match made; for a user who was never matched, 0 means the base model.
        active_number: number that the active version must have; None: any.
        feedback: `exclude` excludes every event that the target was not trained on, until it is released: so no later
            training repeats what was rolled back. `keep` leaves them for the next training. Excluded events that the
            target was trained on are released either way.

    Raises:
        NotFound: no such user or version.
        Conflict: there is nothing to roll back, another version is active than `active_number` says, the call looks
            like a repeated one, the target is the active version, or the target was trained on events that the user
            has retracted.
        InvalidInput: the target was never active.
    """
    user = locked_user(session, user_id)
    current = active(session, user_id)
    if current is None:
        raise Conflict(f"user {user_id} has no active version: nothing to roll back")
    if active_number is not None and active_number != current.number:
        raise Conflict(f"version {current.number} of user {user_id} is active, not {active_number}")
    if to is None and active_number is None:
        _refuse_second_step(session, user_id, current)
    target = _rollback_target(session, current, to)
    if target is not None and target.id == current.id:
        raise Conflict(f"adapter version {current.number} is the active one")
    if target is not None and target.state != AdapterState.RETIRED:
        raise InvalidInput(f"adapter version {target.number} was never active ({target.state}); promote it instead")
    aligned = _align_feedback(session, user, target, actor=actor, reason=reason, exclude=feedback == "exclude")
    point(session, current, target)
    details = {"feedback": feedback, **aligned}
    _record_move(session, user, PointerMove.ROLLED_BACK, current, target, actor, reason, details)
    return PointerChange(user_id, current.number, _number(target), **aligned)


def _refuse_second_step(session: Session, user_id: UUID, current: AdapterRow) -> None:
    """A caller whose answer was lost asks again; going back two versions must be asked for by number."""
    moves = (PointerMove.GATE_PROMOTED, PointerMove.PROMOTED, PointerMove.PINNED, PointerMove.MATCHED)
    last = session.execute(
        sa.select(AdapterHistoryRow)
        .where(AdapterHistoryRow.user_id == user_id, AdapterHistoryRow.move.in_((*moves, PointerMove.ROLLED_BACK)))
        .order_by(AdapterHistoryRow.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    if last is not None and last.move == PointerMove.ROLLED_BACK:
        raise Conflict(
            f"user {user_id} was rolled back from version {last.details['from']} to {current.number} at "
            f"{last.created_at:%Y-%m-%d %H:%M:%S} UTC already; to go further back, name a version with `to`"
        )


def _align_feedback(
    session: Session, user: UserRow, target: AdapterRow | None, *, actor: str, reason: str, exclude: bool
) -> dict[str, int]:
    """Release the excluded events that `target` was trained on; with `exclude`, exclude the events that it was not.

    Raises:
        Conflict: the target was trained on events that the user has retracted; the next training would replace it.
    """
    log = feedback_log.read(session, user, None)
    trained_up_to = feedback_log.trained_up_to(target)
    trained = log.trained(trained_up_to)
    if target is not None and (retracted := sorted(trained & set(log.retractions))):
        raise Conflict(
            f"adapter version {target.number} was trained on event(s) {retracted}, which the user has retracted since; "
            f"choose an earlier version"
        )
    released = trained & log.excluded()
    # A quarantine may end by itself. What a person excludes stays excluded.
    excluded = log.untrained(trained_up_to) - (log.excluded() - log.quarantined()) if exclude else set()
    exclusions.close(session, user, released | (excluded & log.quarantined()), actor=actor)
    session.flush()
    exclusions.exclude(session, user, excluded, actor=actor, reason=reason)
    session.flush()
    return {"num_excluded": len(excluded), "num_released": len(released)}


def _rollback_target(session: Session, current: AdapterRow, to: int | Literal["base"] | None) -> AdapterRow | None:
    if to is None:
        return session.get(AdapterRow, current.parent_id) if current.parent_id else None
    if to == BASE or (to == MATCHED_NUMBER and not _has_matched_version(session, current.user_id)):
        return None
    return get_version(session, current.user_id, to)


def _has_matched_version(session: Session, user_id: UUID) -> bool:
    query = sa.select(AdapterRow.id).where(AdapterRow.user_id == user_id, AdapterRow.number == MATCHED_NUMBER)
    return session.execute(query).first() is not None


def key_of(row: AdapterRow | None) -> Key:
    """The key of a version; None: the base model."""
    return NO_VERSION if row is None else Key(row.id, row.number)


def active_keys(session: Session, user_ids: Collection[UUID]) -> dict[UUID, Key]:
    """The active versions of those of the users who have one, without anything that is in them."""
    rows = session.execute(_ACTIVE_KEYS, {"user_ids": list(user_ids)})
    return {user_id: Key(version_id, number) for user_id, version_id, number in rows}


def retire(session: Session, active: Collection[Key]) -> None:
    """Retire active versions whose successors are inserted next, in the same transaction."""
    session.execute(_RETIRE, {"version_ids": [key.id for key in active]})
    faults.point("old_version_retired")


def _number(row: AdapterRow | None) -> int | None:
    return row.number if row is not None else None


def point(session: Session, current: AdapterRow | None, target: AdapterRow | None) -> None:
    """Make `target` the active version instead of `current`; None: the base model's generic scores.

    In two statements: the unique index would refuse a second active row.
    """
    if current is not None:
        current.state = AdapterState.RETIRED
        session.flush()
    faults.point("old_version_retired")
    if target is not None:
        target.state = AdapterState.ACTIVE
        session.flush()


def _record_move(
    session: Session,
    user: UserRow,
    move: PointerMove,
    current: AdapterRow | None,
    target: AdapterRow | None,
    actor: str,
    reason: str,
    details: dict[str, Any],
) -> None:
    """Write history and audit, and count the epoch up, so that a running training cannot commit."""
    user.epoch += 1
    write_history(session, user.id, move, current, target, actor=actor, reason=reason, details=details)
    audit.record(
        session,
        actor=actor,
        action=move.value,
        subject_id=user.id,
        details={"from": _number(current), "to": _number(target), **details},
    )
    scheduling.refresh_due(session, user)
    faults.point("pointer_moved")


def write_history(
    session: Session,
    user_id: UUID,
    move: PointerMove,
    current: AdapterRow | None,
    target: AdapterRow | None,
    *,
    actor: str,
    reason: str,
    details: dict[str, Any],
) -> None:
    """Write one entry of the history, with the version numbers among its details, and the event if it is one.

    Raises:
        InvalidInput: no reason is given.
    """
    write_histories(session, [Move(user_id, move, key_of(current), key_of(target), actor, reason, details)])


def write_histories(session: Session, moves: Sequence[Move]) -> None:
    """As `write_history`, for several in this order, in statements for all of them."""
    entries, told = [], []
    for each in moves:
        from_number, to_number = each.current.number, each.target.number
        details = {"from": from_number, "to": to_number, **each.details}
        ids = each.current.id, each.target.id
        entries.append(pointer_history.Entry(each.user_id, each.move, each.actor, each.reason, *ids, details))
        kind = events.MOVES.get(each.move)
        if kind is not None and from_number != to_number:
            data = {"move": each.move.value, "from_number": from_number, "to_number": to_number, "reason": each.reason}
            told.append(events.NewEvent(kind, each.user_id, data))
    pointer_history.write_many(session, entries)
    events.write_many(session, told)
