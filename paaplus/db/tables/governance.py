"""API keys, their browser sessions and rate limits, requests that are carried out once, and the audit log."""

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
    """An API key. Only the SHA-256 of the key is stored.

    `creates_users`: an application's key that names an unknown user creates the user.
    """

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64))
    scope: Mapped[KeyScope] = mapped_column(enum_type(KeyScope, "scope"))
    application: Mapped[str | None] = mapped_column(sa.String(64))
    user_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    key_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    creates_users: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    created_at: Mapped[datetime]
    rotated_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class BrowserSessionRow(Base):
    """A browser that is signed in to the studio, or (`opened_at` NULL) a one-time link that nobody has used yet.

    It has the access of its key, and ends with it. Only SHA-256 digests of secrets are stored. `previous_sha256` is of
    the secret before the last rotation: requests that were on their way may still bring it for a moment.
    `acting_user_id`: the person whose pages an admin or application has opened.
    """

    __tablename__ = "browser_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key_id: Mapped[UUID] = mapped_column(sa.ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    acting_user_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    secret_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    previous_sha256: Mapped[str | None] = mapped_column(sa.String(64), index=True)
    form_token: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[datetime]
    opened_at: Mapped[datetime | None]
    rotated_at: Mapped[datetime | None]
    used_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class AllowanceRow(Base):
    """The token bucket of a key for one kind of rate limit; it refills with time."""

    __tablename__ = "allowances"

    key_id: Mapped[UUID] = mapped_column(sa.ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(24), primary_key=True)
    tokens: Mapped[float]
    updated_at: Mapped[datetime]


class IdempotencyRow(Base):
    """A request that was carried out under an idempotency key, and its answer, until `expires_at`.

    It is written in the transaction of the act itself. `answer` is NULL if the answer contained a secret.
    """

    __tablename__ = "idempotency"

    actor: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(sa.String(64))
    status_code: Mapped[int | None]
    answer: Mapped[bytes | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class AuditRow(Base):
    """One privileged act. It has internal ids only and no free text, so that erasing a user need not change it.

    `sequence` counts the acts in order of commit, without gaps. `entry_sha256` is over the act and the hash of the act
    before, `previous_sha256`. So a changed, removed or inserted row is detected. All three are NULL until the commit,
    see `services.audit`. They are not unique, because a forged row must not block the next act.
    """

    __tablename__ = "audit"
    __table_args__ = (sa.Index("ix_audit_subject_id", "subject_id"), sa.Index("ix_audit_sequence", "sequence"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    actor: Mapped[str] = mapped_column(sa.String(64))
    action: Mapped[str] = mapped_column(sa.String(64))
    subject_id: Mapped[UUID | None]
    details: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    sequence: Mapped[int | None]
    previous_sha256: Mapped[str | None] = mapped_column(sa.String(64))
    entry_sha256: Mapped[str | None] = mapped_column(sa.String(64))


class AuditHeadRow(Base):
    """The newest link of the audit chain, in a single row. A transaction locks it to append the next link."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int]
    entry_sha256: Mapped[str] = mapped_column(sa.String(64))


class SecretRow(Base):
    """A secret of the deployment, random and made when it is first needed. All its processes share it."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[bytes]
    created_at: Mapped[datetime]
