"""The audit trail: every privileged act."""

from __future__ import annotations

from fastapi import APIRouter

from api.dependencies import AdminKey, Cursor, Limit, ReadSession
from api.schemas.audit import AuditEntryOut
from api.schemas.common import Page, next_cursor
from paaplus.services import audit as audit_service

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("")
def list_entries(_key: AdminKey, session: ReadSession, limit: Limit = 50, cursor: Cursor = None) -> Page[AuditEntryOut]:
    """Who did what to whom, by internal ids, newest first."""
    rows = audit_service.list_entries(session, limit=limit, before=cursor)
    return Page(items=[AuditEntryOut.model_validate(row) for row in rows], next_cursor=next_cursor(rows, limit))
