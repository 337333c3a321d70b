"""The transaction that ends a training: it writes the run, the version, the pointer, the schedule and the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.db.engine import Database
from paaplus.db.locks import lock_user, lock_users
from paaplus.db.prepared import PreparedInsert
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, RunRow, UserRow
from paaplus.db.tables.events import EventKind
from paaplus.db.tables.models import PointerMove
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.errors import LeaseLost
from paaplus.ids import new_id
from paaplus.queue import jobs
from paaplus.queue.jobs import Lease
from paaplus.services import events, scheduling
from paaplus.services.adaptation.finished import (
    Ended,
    Quarantine,
    RunResult,
    candidate_of,
    move_of,
    run_row,
    told,
    version_row,
)
from paaplus.services.adapters import versions
from paaplus.services.adapters.versions import Key
from paaplus.services.feedback import exclusions
from paaplus.services.feedback.counted_events import GATE

log = structlog.get_logger(__name__)

_RUNS: Final = PreparedInsert(RunRow.__table__)
_VERSIONS: Final = PreparedInsert(AdapterRow.__table__)
_ACTIVATIONS = (PointerMove.GATE_PROMOTED, PointerMove.PROMOTED, PointerMove.ROLLED_BACK, PointerMove.PINNED)


def commit_many(database: Database, finished: Sequence[tuple[UUID, RunResult]]) -> list[Exception | None]:
    """Write runs, versions, pointers, history and schedules of several users, and end their jobs, in one transaction.

    Who was erased or changed (rollback, pin, release) since the training began, or whose job another worker holds, is
    left out with a `LeaseLost`. If anything else fails, nothing of the transaction is kept, and each user is committed
    alone, so that only the faulty one fails.

    Returns:
        Each user's error, or None, in their order.
    """
    try:
        data = [result.candidate.adapter.to_bytes() if result.candidate else b"" for _, result in finished]
        with database.session() as session:
            errors = _write_held(session, finished, data)
            session.flush()
            faults.point("training_uncommitted")
    except Exception as error:
        if len(finished) == 1:
            return [error]
        log.warning("commit failed: each user is committed alone", num_users=len(finished), error=repr(error))
        return [commit_many(database, [each])[0] for each in finished]
    faults.point("training_committed")
    return errors


def _write_held(
    session: Session, finished: Sequence[tuple[UUID, RunResult]], data: Sequence[bytes]
) -> list[Exception | None]:
    """Write the trainings whose user and job are as they were; for each None, or why it is left out."""
    users = lock_users(session, [user_id for user_id, _ in finished])
    errors = [_changed(user_id, users.get(user_id), result) for user_id, result in finished]
    kept = [result.job for (_, result), error in zip(finished, errors, strict=True) if error is None]
    completed = jobs.complete_many(session, kept)
    ended = []
    for place, (user_id, result) in enumerate(finished):
        if errors[place] is None and result.job.job_id not in completed:
            errors[place] = jobs.lost(result.job)
        if errors[place] is None:
            ended.append(Ended(users[user_id], result, data[place], new_id(), new_id(), utcnow()))
    if ended:
        _write(session, ended)
    return errors


def _changed(user_id: UUID, user: UserRow | None, result: RunResult) -> Exception | None:
    if user is None:
        return LeaseLost(f"user {user_id} was erased while being trained")
    if user.epoch != result.epoch:
        return LeaseLost(f"user {user_id} changed while being trained: epoch {result.epoch} became {user.epoch}")
    return None


def _write(session: Session, ended: Sequence[Ended]) -> None:
    """Write everything of these trainings, in statements for all of them; what is rare is written user by user."""
    for each in ended:
        if each.result.quarantine is not None:
            _quarantine(session, each.user, each.result.quarantine)
    session.flush()
    _RUNS.insert(session.connection(), list(map(run_row, ended)))
    active = versions.active_keys(session, [each.user.id for each in ended])
    _write_versions(session, [each for each in ended if each.result.candidate is not None], active)
    for each in ended:
        if (
            each.result.retire_reason is not None
            and not each.user.pinned
            and (each.goes_live or each.user.id in active)
        ):
            _retire(session, each.user, each.result.retire_reason)
        each.user.trained_sequence = max(each.user.trained_sequence, each.result.to_sequence)
        each.user.last_trained_at = utcnow()
    scheduling.refresh_due_of(session, [each.user.id for each in ended])
    events.write_many(
        session, [events.NewEvent(EventKind.TRAINING_FINISHED, each.user.id, told(each)) for each in ended]
    )


def skip(database: Database, user_id: UUID, job: Lease) -> None:
    """End a paused user's job without a training. The user becomes due again when the pause ends.

    Raises:
        LeaseLost: another worker holds the job.
    """
    with database.session() as session:
        user = lock_user(session, user_id)
        jobs.complete(session, job)
        if user is not None and job.reason in scheduling.STARTING_POINT_REASONS:
            scheduling.due_for(session, user, DueReason(job.reason))


def _write_versions(session: Session, ended: Sequence[Ended], active: Mapping[UUID, Key]) -> None:
    """Write the candidates as versions and move the pointers.

    Args:
        session: with everything else written.
        ended: trainings with a candidate.
        active: the users' active versions, by user.
    """
    if not ended:
        return
    for each in ended:
        each.user.adapter_sequence += 1
    if any(each.goes_live for each in ended):  # first: a unique index would refuse a second active row
        versions.retire(session, [active[each.user.id] for each in ended if each.goes_live and each.user.id in active])
    _VERSIONS.insert(session.connection(), list(map(version_row, ended)))
    faults.point("version_written")
    versions.write_histories(session, [move_of(each, active.get(each.user.id, versions.NO_VERSION)) for each in ended])
    for each in ended:
        if each.result.is_tainted and not each.goes_live and not each.user.pinned:
            _retire_tainted(session, each.user, versions.active(session, each.user.id), candidate_of(each).parent_id)


def _retire_tainted(session: Session, user: UserRow, current: AdapterRow | None, untainted_id: UUID | None) -> None:
    """Serve the nearest untainted version: the active one is tainted, and the gate refused its successor."""
    untainted = session.get(AdapterRow, untainted_id) if untainted_id else None
    versions.point(session, current, untainted)
    versions.write_history(
        session,
        user.id,
        PointerMove.ROLLED_BACK,
        current,
        untainted,
        actor=GATE,
        reason="the active version was trained on feedback that no longer counts, and its successor was refused",
        details={},
    )


def _quarantine(session: Session, user: UserRow, quarantine: Quarantine) -> None:
    """Exclude the events, release those that the gate had excluded before, and tell it in the history."""
    current = {each.sequence for each in exclusions.list_open(session, user.id) if each.exclusion.actor == GATE}
    new, ended = quarantine.sequences - current, current - quarantine.sequences
    exclusions.close(session, user, ended, actor=GATE)
    exclusions.exclude(session, user, new, actor=GATE, reason=quarantine.reason)
    user.epoch += 1
    versions.write_history(
        session,
        user.id,
        PointerMove.QUARANTINED,
        None,
        None,
        actor=GATE,
        reason=quarantine.reason if quarantine.sequences else "No event is quarantined any more.",
        details={"num_quarantined": len(new), "num_released": len(ended)},
    )


def _retire(session: Session, user: UserRow, reason: str) -> None:
    """Serve the match's version, or generic scores. A version that a person made active stays."""
    current = versions.active(session, user.id)
    if current is None or current.number == versions.MATCHED_NUMBER or not _promoted_by_gate(session, current):
        return
    matched = session.execute(
        sa.select(AdapterRow).where(
            AdapterRow.user_id == user.id,
            AdapterRow.number == versions.MATCHED_NUMBER,
            AdapterRow.base_model_id == current.base_model_id,
            AdapterRow.match_id == current.match_id,
        )
    ).scalar_one_or_none()
    versions.point(session, current, matched)
    versions.write_history(
        session, user.id, PointerMove.GATE_RETIRED, current, matched, actor=GATE, reason=reason, details={}
    )


def _promoted_by_gate(session: Session, version: AdapterRow) -> bool:
    move = session.execute(
        sa.select(AdapterHistoryRow.move)
        .where(AdapterHistoryRow.to_adapter_id == version.id, AdapterHistoryRow.move.in_(_ACTIVATIONS))
        .order_by(AdapterHistoryRow.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    return move in (None, PointerMove.GATE_PROMOTED)
