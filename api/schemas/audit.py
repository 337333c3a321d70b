"""The audit trail as answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from paaplus.api.schemas.common import Out


class AuditEntryOut(Out):
    """One privileged act, by internal ids."""

    id: UUID
    actor: str
    action: str
    subject_id: UUID | None
    details: dict[str, Any]
    created_at: datetime
    sequence: int | None = Field(description="Place in the chain; null: written by somebody else than the platform.")
    previous_sha256: str | None
    entry_sha256: str | None


class AuditReportOut(Out):
    """What a look at the whole chain found; `problems` tells the first of them."""

    is_intact: bool
    num_entries: int
    head: str | None = Field(description="The newest link, SEQUENCE:SHA256: keep it where the database is not.")
    num_problems: int
    problems: list[str]
