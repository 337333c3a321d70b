"""Who may do what, and what was done."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base
from paaplus.db.types import enum_type


class KeyScope(StrEnum):
    USER = "user"
    APPLICATION = "application"
    EXPERT = "expert"
    ADMIN = "admin"


class ApiKeyRow(Base):
    """An API key: only the SHA-256 of its 32 random bytes is kept."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64))
    scope: Mapped[KeyScope] = mapped_column(enum_type(KeyScope, "scope"))
    application: Mapped[str | None] = mapped_column(sa.String(64))
    user_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    key_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class AuditRow(Base):
    """One privileged act. Holds internal ids only, no free text, so that erasing a user need not touch it."""

    __tablename__ = "audit"
    __table_args__ = (sa.Index("ix_audit_subject_id", "subject_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    actor: Mapped[str] = mapped_column(sa.String(64))
    action: Mapped[str] = mapped_column(sa.String(64))
    subject_id: Mapped[UUID | None]
    details: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
