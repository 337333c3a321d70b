"""The audit trail as answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from api.schemas.common import Out


class AuditEntryOut(Out):
    """One privileged act, by internal ids."""

    id: UUID
    actor: str
    action: str
    subject_id: UUID | None
    details: dict[str, Any]
    created_at: datetime
