"""The audit trail."""

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
    sequence: int | None = Field(description="Position in the chain; null: the platform did not write this entry.")
    previous_sha256: str | None
    entry_sha256: str | None


class AuditReportOut(Out):
    """Result of checking the whole chain; `problems` lists the first problems."""

    is_intact: bool
    num_entries: int
    head: str | None = Field(description="The newest link, SEQUENCE:SHA256. Store it outside of the database.")
    num_problems: int
    problems: list[str]
