"""Rollbacks: an earlier version of a user, or the base model, becomes active again. Of many users in few statements."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.locks import lock_columns
from paaplus.db.prepared import Prepared, listed, one_of
from paaplus.db.raw_values import uuid_of
from paaplus.db.row_sets import encoded, row_set
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, UserRow
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.users import locked_user
from paaplus.errors import Conflict, InvalidInput, NotFound, PaaplusError
from paaplus.services.adapters import alignment, versions
from paaplus.services.adapters.alignment import Aligned
from paaplus.services.adapters.versions import MATCHED_NUMBER, NO_VERSION, Key, Move, PointerChange
from paaplus.services.feedback import event_numbers

BASE: Final = "base"  # as target: no adapter, the base model's generic scores

Target = int | Literal["base"] | None  # version number; None: the active version's parent
Feedback = Literal["exclude", "keep"]


class Wanted(NamedTuple):
    """The rollback of one user.

    Attributes:
        user_id: the user.
        targets: what to go back to: the first of these that is possible.
        active_number: number that the active version must have; None: any.
    """

    user_id: UUID
    targets: Sequence[Target]
    active_number: int | None = None


class _Version(NamedTuple):
    """Columns of a version; ids and state are as the driver gives them."""

    id: Any
    user_id: Any
    number: int
    parent_id: Any
    state: str
    high_water_sequence: int
    epoch: int


class _Planned(NamedTuple):
    """A rollback that is possible."""

    user_id: UUID
    current: _Version
    target: _Version | None
    aligned: Aligned


def rollback(
    session: Session,
    user_id: UUID,
    *,
    to: Target = None,
    active_number: int | None = None,
    feedback: Feedback = "exclude",
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
    locked_user(session, user_id)
    if to is None and active_number is None:
        _refuse_second_step(session, user_id)
    wanted = [Wanted(user_id, [to], active_number)]
    [outcome] = rollback_many(session, wanted, feedback=feedback, actor=actor, reason=reason)
    if isinstance(outcome, PaaplusError):
        raise outcome
    return outcome


def rollback_many(
    session: Session, wanted: Sequence[Wanted], *, feedback: Feedback, actor: str, reason: str
) -> list[PointerChange | PaaplusError]:
    """As `rollback`, for different users. The error of one is in its place; the others are rolled back."""
    users = lock_columns(session, [each.user_id for each in wanted])
    last = {user_id: user.feedback_sequence for user_id, user in users.items()}
    plans = _plans(session, wanted, last, exclude=feedback == "exclude")
    possible = [plan for plan in plans if isinstance(plan, _Planned)]
    if possible:
        changes = [(plan.user_id, users[plan.user_id].epoch, plan.aligned) for plan in possible]
        alignment.write(session, changes, actor=actor, reason=reason)
        keys = [(_key(plan.current), _key(plan.target)) for plan in possible]
        versions.replace_active(session, keys)
        moves = [
            Move(plan.user_id, PointerMove.ROLLED_BACK, current, target, actor, reason,
                 {"feedback": feedback, **plan.aligned.counts})
            for plan, (current, target) in zip(possible, keys, strict=True)
        ]  # fmt: skip
        versions.record_moves(session, moves)
    return [_change(plan) if isinstance(plan, _Planned) else plan for plan in plans]


def preview_many(
    session: Session, wanted: Sequence[Wanted], *, feedback: Feedback
) -> list[PointerChange | PaaplusError]:
    """What `rollback_many` would do now. Changes and locks nothing."""
    connection = session.connection()
    rows = _USERS.rows(connection, ids=listed(connection, [each.user_id for each in wanted]))
    plans = _plans(session, wanted, {uuid_of(row[0]): row[1] for row in rows}, exclude=feedback == "exclude")
    return [_change(plan) if isinstance(plan, _Planned) else plan for plan in plans]


def _change(plan: _Planned) -> PointerChange:
    return PointerChange(plan.user_id, plan.current.number, _key(plan.target).number, **plan.aligned.counts)


def _plans(
    session: Session, wanted: Sequence[Wanted], last_sequence: Mapping[UUID, int], *, exclude: bool
) -> list[_Planned | PaaplusError]:
    """What becomes of each. A target that is not possible gives way to the next one.

    Args:
        last_sequence: that of the last event of each user who exists.
    """
    active = _active(session, last_sequence)
    targets: dict[UUID, _Version | None] = {}
    changes: dict[UUID, Aligned] = {}
    refused: dict[UUID, PaaplusError] = {}
    open_targets: dict[UUID, list[Target]] = {}
    for each in wanted:
        refusal = _refusal(each, last_sequence, active)
        if refusal is None:
            open_targets[each.user_id] = list(reversed(each.targets))
        else:
            refused[each.user_id] = refusal
    logs = event_numbers.read_many(session, event_numbers.with_exceptions(session, list(open_targets)))
    while open_targets:
        asked = {user_id: given.pop() for user_id, given in open_targets.items()}
        for user_id, target in _targets(session, asked, active).items():
            try:
                if isinstance(target, PaaplusError):
                    raise target
                changes[user_id] = (
                    alignment.aligned(logs[user_id], target, exclude=exclude)
                    if user_id in logs
                    else alignment.aligned_without_exceptions(target, last_sequence[user_id], exclude=exclude)
                )
                targets[user_id] = target
            except PaaplusError as error:
                if open_targets[user_id]:
                    continue
                refused[user_id] = error
            del open_targets[user_id]
    return [
        refused[user_id]
        if user_id in refused
        else _Planned(user_id, active[user_id], targets[user_id], changes[user_id])
        for user_id in (each.user_id for each in wanted)
    ]


def _refusal(wanted: Wanted, users: Collection[UUID], active: dict[UUID, _Version]) -> PaaplusError | None:
    user_id, current = wanted.user_id, active.get(wanted.user_id)
    if user_id not in users:
        return NotFound(f"user {user_id} does not exist")
    if current is None:
        return Conflict(f"user {user_id} has no active version: nothing to roll back")
    if wanted.active_number is not None and wanted.active_number != current.number:
        return Conflict(f"version {current.number} of user {user_id} is active, not {wanted.active_number}")
    return None


def _targets(
    session: Session, asked: dict[UUID, Target], active: dict[UUID, _Version]
) -> dict[UUID, _Version | PaaplusError | None]:
    """The version that each user is to go back to; None: the base model."""
    parents = {user_id: active[user_id].parent_id for user_id, target in asked.items() if target is None}
    numbers = {user_id: target for user_id, target in asked.items() if isinstance(target, int)}
    by_id = _by_id(session, [parent_id for parent_id in parents.values() if parent_id is not None])
    by_number = _by_number(session, numbers)
    found: dict[UUID, _Version | PaaplusError | None] = {}
    for user_id, target in asked.items():
        version = by_id.get(parents[user_id]) if user_id in parents else by_number.get(user_id)
        found[user_id] = version
        if version is None:
            if isinstance(target, int) and target != MATCHED_NUMBER:
                found[user_id] = NotFound(f"adapter version {target} of user {user_id} does not exist")
        elif version.number == active[user_id].number:
            found[user_id] = Conflict(f"adapter version {version.number} is the active one")
        elif version.state != AdapterState.RETIRED.value:
            found[user_id] = InvalidInput(
                f"adapter version {version.number} was never active ({version.state}); promote it instead"
            )
    return found


def _refuse_second_step(session: Session, user_id: UUID) -> None:
    """A caller whose answer was lost asks again; going back two versions must be asked for by number."""
    current = _active(session, [user_id]).get(user_id)
    if current is None:
        return  # nothing to roll back, which is told later
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


def _key(version: _Version | None) -> Key:
    return NO_VERSION if version is None else Key(uuid_of(version.id), version.number)


_USERS: Final = Prepared(
    lambda dialect: sa.select(UserRow.id, UserRow.feedback_sequence).where(
        UserRow.id.in_(one_of(dialect, "ids", sa.Uuid()))
    )
)
_COLUMNS: Final = (
    AdapterRow.id,
    AdapterRow.user_id,
    AdapterRow.number,
    AdapterRow.parent_id,
    AdapterRow.state,
    AdapterRow.high_water_sequence,
    AdapterRow.epoch,
)
_ACTIVE: Final = Prepared(
    lambda dialect: sa.select(*_COLUMNS).where(
        AdapterRow.user_id.in_(one_of(dialect, "ids", sa.Uuid())), sa.text("adapters.state = 'active'")
    )
)
_BY_ID: Final = Prepared(
    lambda dialect: sa.select(*_COLUMNS).where(AdapterRow.id.in_(one_of(dialect, "ids", sa.Uuid())))
)


def _numbered(dialect: str) -> sa.Select[*tuple[Any, ...]]:
    wanted = row_set(dialect, "wanted", {"user_id": sa.Uuid(), "number": sa.Integer()})
    same = sa.and_(AdapterRow.user_id == wanted.c.user_id, AdapterRow.number == wanted.c.number)
    return sa.select(*_COLUMNS).join(wanted, same)


_BY_NUMBER: Final = Prepared(_numbered)


def _active(session: Session, user_ids: Collection[UUID]) -> dict[UUID, _Version]:
    session.flush()
    connection = session.connection()
    rows = _ACTIVE.rows(connection, ids=listed(connection, list(user_ids)))
    return {uuid_of(row[1]): _Version(*row) for row in rows}


def _by_id(session: Session, ids: Iterable[Any]) -> dict[Any, _Version]:
    """By id, as the driver gives it."""
    connection, wanted = session.connection(), [uuid_of(version_id) for version_id in ids]
    return {row[0]: _Version(*row) for row in _BY_ID.rows(connection, ids=listed(connection, wanted))} if wanted else {}


def _by_number(session: Session, numbers: dict[UUID, int]) -> dict[UUID, _Version]:
    """By user."""
    if not numbers:
        return {}
    connection = session.connection()
    rows = _BY_NUMBER.rows(connection, wanted=encoded(connection.dialect.name, numbers.items()))
    return {uuid_of(row[1]): _Version(*row) for row in rows}
