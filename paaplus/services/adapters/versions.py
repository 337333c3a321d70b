"""Adapter versions: list, compare, promote and pin. `point` moves the active pointer; `rollbacks` moves it back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer
from sqlalchemy.orm.attributes import set_committed_value

from paaplus import faults
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, RunRow, UserRow
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.users import loaded_user, locked_user
from paaplus.errors import Conflict, NotFound
from paaplus.services import audit, events, scheduling
from paaplus.services import history as pointer_history
from paaplus.services.adapters import alignment

MATCHED_NUMBER: Final = 0  # of the version that a match makes before any training
_VERSIONS: Final = cast(sa.Table, AdapterRow.__table__)
_USERS: Final = cast(sa.Table, UserRow.__table__)
_ACTIVE: Final = sa.select(AdapterRow).where(
    AdapterRow.user_id == sa.bindparam("user_id"), AdapterRow.state == AdapterState.ACTIVE
)
_ACTIVE_KEYS: Final = Prepared(
    lambda dialect: sa.select(AdapterRow.user_id, AdapterRow.id, AdapterRow.number).where(
        AdapterRow.user_id.in_(one_of(dialect, "user_ids", sa.Uuid())), sa.text("adapters.state = 'active'")
    )
)


def _to_state(state: AdapterState) -> Prepared:
    """Sets the state of versions."""
    return Prepared(
        lambda dialect: (
            sa.update(_VERSIONS).where(_VERSIONS.c.id.in_(one_of(dialect, "ids", sa.Uuid()))).values(state=state)
        )
    )


_RETIRE: Final = _to_state(AdapterState.RETIRED)
_ACTIVATE: Final = _to_state(AdapterState.ACTIVE)
_NEXT_EPOCH: Final = Prepared(
    lambda dialect: (
        sa.update(_USERS).where(_USERS.c.id.in_(one_of(dialect, "ids", sa.Uuid()))).values(epoch=_USERS.c.epoch + 1)
    )
)


class Key(NamedTuple):
    """Id and number of a version; None: the base model."""

    id: UUID | None
    number: int | None


NO_VERSION: Final = Key(None, None)


class Move(NamedTuple):
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


def list_versions(
    session: Session, user_id: UUID, *, limit: int | None = None, before: UUID | None = None
) -> list[AdapterRow]:
    """The user's versions, newest first; `limit`: so many at most; `before`: older than this one."""
    query = sa.select(AdapterRow).where(AdapterRow.user_id == user_id).order_by(AdapterRow.number.desc()).limit(limit)
    if before is not None:
        number = sa.select(AdapterRow.number).where(AdapterRow.id == before, AdapterRow.user_id == user_id)
        query = query.where(AdapterRow.number < number.scalar_subquery())
    return list(session.execute(query).scalars())


def latest(session: Session, user_id: UUID, limit: int) -> list[AdapterRow]:
    """So many of the user's latest versions, newest first, and the active one, however old it is."""
    rows = list_versions(session, user_id, limit=limit)
    current = active(session, user_id) if len(rows) == limit else None
    return [*rows, current] if current is not None and current.number < rows[-1].number else rows


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


def history(
    session: Session, user_id: UUID, *, limit: int | None = None, before: UUID | None = None
) -> Sequence[AdapterHistoryRow]:
    """The history of the user's pointer, newest first; `limit`: so many at most; `before`: older than this entry."""
    query = (
        sa.select(AdapterHistoryRow)
        .where(AdapterHistoryRow.user_id == user_id)
        .order_by(AdapterHistoryRow.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(AdapterHistoryRow.id < before)
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
    aligned = alignment.release(session, user, target, actor=actor)
    point(session, current, target)
    _record(session, user, PointerMove.PROMOTED, current, target, actor, reason, aligned)
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
    aligned = alignment.release(session, user, target, actor=actor)
    if current is None or current.id != target.id:
        point(session, current, target)
    user.pinned = True
    _record(session, user, PointerMove.PINNED, current, target, actor, reason, aligned)
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
    _record(session, user, PointerMove.UNPINNED, current, current, actor, reason, {})
    return PointerChange(user_id, _number(current), _number(current))


def key_of(row: AdapterRow | None) -> Key:
    """The key of a version; None: the base model."""
    return NO_VERSION if row is None else Key(row.id, row.number)


def active_keys(session: Session, user_ids: Collection[UUID]) -> dict[UUID, Key]:
    """The active versions of those of the users who have one, without anything that is in them."""
    session.flush()
    connection = session.connection()
    rows = _ACTIVE_KEYS.rows(connection, user_ids=listed(connection, user_ids))
    return {as_uuid(user_id): Key(as_uuid(version_id), number) for user_id, version_id, number in rows}


def retire(session: Session, active: Collection[Key]) -> None:
    """Retire active versions whose successors are inserted next, in the same transaction."""
    _set_state(session, _RETIRE, active)
    faults.point("old_version_retired")


def replace_active(session: Session, moves: Sequence[tuple[Key, Key]]) -> None:
    """As `point`, for many users: from the active version of each to another one of the same user."""
    retire(session, [current for current, _ in moves])
    _set_state(session, _ACTIVATE, [target for _, target in moves])
    for row in session.identity_map.values():
        if isinstance(row, AdapterRow):
            session.expire(row, ["state"])


def _set_state(session: Session, statement: Prepared, versions: Collection[Key]) -> None:
    session.flush()
    connection, ids = session.connection(), [key.id for key in versions if key.id is not None]
    if ids:
        statement.rows(connection, ids=listed(connection, ids))


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


def _record(
    session: Session,
    user: UserRow,
    move: PointerMove,
    current: AdapterRow | None,
    target: AdapterRow | None,
    actor: str,
    reason: str,
    details: dict[str, Any],
) -> None:
    record_moves(session, [Move(user.id, move, key_of(current), key_of(target), actor, reason, details)])


def record_moves(session: Session, moves: Sequence[Move]) -> None:
    """Write history and audit of moves, each of another (locked) user.

    Counts the epochs up, so that a running training cannot commit.
    """
    session.flush()
    connection, user_ids = session.connection(), [each.user_id for each in moves]
    _NEXT_EPOCH.rows(connection, ids=listed(connection, user_ids))
    for user_id in user_ids:
        if (user := loaded_user(session, user_id)) is not None:
            set_committed_value(user, "epoch", user.epoch + 1)
    write_histories(session, moves)
    acts = []
    for each in moves:
        details = {"from": each.current.number, "to": each.target.number, **each.details}
        acts.append(audit.Act(each.actor, each.move.value, each.user_id, details))
    audit.record_many(session, acts)
    scheduling.refresh_due_of(session, user_ids)
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
