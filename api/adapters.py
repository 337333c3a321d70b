"""A user's adapter versions. Every key of the user reads them; an admin key changes the active version."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query
from sqlalchemy.orm import Session

from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import (
    LIMIT_MAX,
    AdminKey,
    Context,
    Limit,
    ReadSession,
    UserKey,
    UserPath,
    VersionPath,
    WriteSession,
)
from paaplus.api.routing import router_of
from paaplus.api.schemas.adapters import (
    AdapterOut,
    AdapterSummary,
    ComparisonOut,
    ExclusionOut,
    HistoryEntryOut,
    JobRef,
    MetricsOut,
    PointerChangeOut,
    ReleasedOut,
    ReleaseIn,
    RollbackIn,
    RunOut,
    VersionMetricsOut,
)
from paaplus.api.schemas.common import Page, ReasonIn, WholeText
from paaplus.db.tables import BaseModelRow
from paaplus.services import scheduling
from paaplus.services.adapters import rollbacks
from paaplus.services.adapters import versions as adapters_service
from paaplus.services.feedback import exclusions
from paaplus.services.registry import base_models
from paaplus.services.users import users

router = router_of("/v1/users/{user}", "adapters")

VersionQuery = Annotated[
    WholeText, Query(ge=0, le=2**31 - 1, description="Number of an adapter version.", examples=[1])
]


@router.get("/adapters")
def list_versions(
    user: UserPath, key: UserKey, session: ReadSession, cursor: Cursor, limit: Limit = LIMIT_MAX
) -> Page[AdapterSummary]:
    """The versions of the user's adapter, newest first: active, retired and rejected."""
    user_id = users.resolve(session, key, user).id
    rows = adapters_service.list_versions(session, user_id, limit=limit, before=cursor.after)
    bases = _base_models(session)
    return Page(items=[AdapterSummary.of(row, bases) for row in rows], next_cursor=cursor.next(rows, limit))


@router.get("/adapters/compare")
def compare_versions(
    user: UserPath, key: UserKey, session: ReadSession, a: VersionQuery, b: VersionQuery
) -> ComparisonOut:
    """Compare two versions."""
    comparison = adapters_service.compare(session, users.resolve(session, key, user).id, a, b)
    return ComparisonOut.of(comparison, _base_models(session))


@router.get("/adapters/{number}")
def get_version(user: UserPath, number: VersionPath, key: UserKey, session: ReadSession) -> AdapterOut:
    """One version, with its metrics and the gate's report."""
    row = adapters_service.get_version(session, users.resolve(session, key, user).id, number)
    return AdapterOut.of(row, _base_models(session))


@router.get("/history")
def get_history(
    user: UserPath, key: UserKey, session: ReadSession, cursor: Cursor, limit: Limit = LIMIT_MAX
) -> Page[HistoryEntryOut]:
    """Every change of the active version, newest first: who made it, when, from which version to which, and why."""
    user_id = users.resolve(session, key, user).id
    rows = adapters_service.history(session, user_id, limit=limit, before=cursor.after)
    items = [HistoryEntryOut.model_validate(row) for row in rows]
    return Page(items=items, next_cursor=cursor.next(rows, limit))


@router.get("/metrics")
def get_metrics(user: UserPath, key: UserKey, session: ReadSession) -> MetricsOut:
    """Quality of the latest versions on held-out feedback, and the time that each of the latest trainings took."""
    user_id = users.resolve(session, key, user).id
    rows = adapters_service.list_versions(session, user_id, limit=LIMIT_MAX)
    return MetricsOut(
        user_id=user_id,
        versions=[VersionMetricsOut.model_validate(row) for row in rows],
        runs=[RunOut.model_validate(row) for row in adapters_service.runs(session, user_id)],
    )


@router.get("/exclusions")
def list_exclusions(
    user: UserPath, key: UserKey, session: ReadSession, cursor: Cursor, limit: Limit = LIMIT_MAX
) -> Page[ExclusionOut]:
    """Excluded and quarantined events, oldest first: no training uses them until they are released."""
    user_id = users.resolve(session, key, user).id
    events = exclusions.list_open(session, user_id, limit=limit, after=cursor.after)
    items = [
        ExclusionOut(
            sequence=event.sequence,
            kind=exclusions.kind_of(event.exclusion),
            reason=event.exclusion.reason,
            actor=event.exclusion.actor,
            created_at=event.exclusion.created_at,
        )
        for event in events
    ]
    return Page(items=items, next_cursor=cursor.next(events, limit))


@router.post("/adapters/{number}/promote")
def promote(
    user: UserPath, number: VersionPath, body: ReasonIn, key: AdminKey, session: WriteSession
) -> PointerChangeOut:
    """Make a version active, even if the gate rejected it."""
    user_id = users.resolve(session, key, user).id
    change = adapters_service.promote(session, user_id, number, actor=key.actor, reason=body.reason)
    return PointerChangeOut.model_validate(change)


@router.post("/adapters/{number}/pin")
def pin(user: UserPath, number: VersionPath, body: ReasonIn, key: AdminKey, session: WriteSession) -> PointerChangeOut:
    """Make a version active and keep it active until it is unpinned."""
    user_id = users.resolve(session, key, user).id
    change = adapters_service.pin(session, user_id, number, actor=key.actor, reason=body.reason)
    return PointerChangeOut.model_validate(change)


@router.post("/unpin")
def unpin(user: UserPath, body: ReasonIn, key: AdminKey, session: WriteSession) -> PointerChangeOut:
    """Let the gate change the active version again."""
    user_id = users.resolve(session, key, user).id
    change = adapters_service.unpin(session, user_id, actor=key.actor, reason=body.reason)
    return PointerChangeOut.model_validate(change)


@router.post("/rollback")
def rollback(user: UserPath, body: RollbackIn, key: AdminKey, session: WriteSession) -> PointerChangeOut:
    """Serve an earlier version again, or the base model.

    A repeated call goes no further back. With `to` or `active` it is a conflict; without both it is one if the last
    change of the active version was a rollback.
    """
    change = rollbacks.rollback(
        session,
        users.resolve(session, key, user).id,
        to=body.to,
        active_number=body.active,
        feedback=body.feedback,
        actor=key.actor,
        reason=body.reason,
    )
    return PointerChangeOut.model_validate(change)


@router.post("/retrain", status_code=202)
def retrain(user: UserPath, body: ReasonIn, key: AdminKey, context: Context, session: WriteSession) -> JobRef:
    """Train the user with the next free worker, even if the policy says that the user is not due."""
    user_id = users.resolve(session, key, user).id
    job_id = scheduling.request_training(
        session, user_id, actor=key.actor, reason=body.reason, settings=context.settings
    )
    return JobRef(job_id=job_id)


@router.post("/exclusions/release")
def release(user: UserPath, body: ReleaseIn, key: AdminKey, session: WriteSession) -> ReleasedOut:
    """Release excluded or quarantined events: trainings may use them again, and the gate leaves them alone."""
    num_released = exclusions.release(
        session,
        users.resolve(session, key, user).id,
        sequences=body.sequences,
        actor=key.actor,
        reason=body.reason,
    )
    return ReleasedOut(num_released=num_released)


def _base_models(session: Session) -> dict[UUID, BaseModelRow]:
    return {row.id: row for row in base_models.list_base_models(session)}
