"""The audit trail of privileged acts, and a check that it is unchanged."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import AdminKey, Limit, ReadSession
from paaplus.api.routing import router_of
from paaplus.api.schemas.audit import AuditEntryOut, AuditReportOut
from paaplus.api.schemas.common import Page
from paaplus.services import audit as audit_service
from paaplus.services.audit import Link

router = router_of("/v1/audit", "audit")


@router.get("")
def list_entries(_key: AdminKey, session: ReadSession, cursor: Cursor, limit: Limit = 50) -> Page[AuditEntryOut]:
    """Privileged acts by internal ids, newest first: who did what to whom."""
    rows = audit_service.list_entries(session, limit=limit, before=cursor.after)
    return Page(items=[AuditEntryOut.model_validate(row) for row in rows], next_cursor=cursor.next(rows, limit))


@router.get("/verification")
def verify_entries(
    _key: AdminKey,
    session: ReadSession,
    expected: Annotated[
        str | None,
        Query(
            pattern=r"^[0-9]{1,9}:[0-9a-f]{64}$",
            description="The `head` of an earlier answer, stored outside of the database.",
        ),
    ] = None,
) -> AuditReportOut:
    """Recompute the chain of hashes over all entries. It finds entries that were changed, removed or inserted."""
    report = audit_service.verify(session, Link.parse(expected) if expected is not None else None)
    return AuditReportOut(
        is_intact=report.is_intact,
        num_entries=report.num_entries,
        head=str(report.head) if report.head is not None else None,
        num_problems=report.num_problems,
        problems=report.problems,
    )
