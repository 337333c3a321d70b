"""Base models, taste priors, adapter versions and the history of the active pointer."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base, partial, partial_unique
from paaplus.db.types import enum_type


class AdapterState(StrEnum):
    """CANDIDATE: passed the gate, but another version is pinned. ACTIVE: served. RETIRED: was served before. REJECTED:
    refused by the gate.
    """

    CANDIDATE = "candidate"
    ACTIVE = "active"
    RETIRED = "retired"
    REJECTED = "rejected"


class PointerMove(StrEnum):
    """Kinds of history entries: what moved the active pointer, or was decided about it."""

    GATE_PROMOTED = "gate_promoted"
    GATE_REFUSED = "gate_refused"
    GATE_RETIRED = "gate_retired"
    QUARANTINED = "quarantined"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    RELEASED = "released"
    RETRAIN_REQUESTED = "retrain_requested"
    MATCHED = "matched"


class BaseModelRow(Base):
    """One version of a frozen backbone with its generic head. `artifact_sha256` names its blob in storage."""

    __tablename__ = "base_models"
    __table_args__ = (sa.UniqueConstraint("name", "version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(128))
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(sa.String(64), unique=True)
    extractor_digest: Mapped[str] = mapped_column(sa.String(64), index=True)
    artifact_sha256: Mapped[str] = mapped_column(sa.String(64))
    aspects: Mapped[list[str]]
    feature_dim: Mapped[int]
    config: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    retired_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class TastePriorRow(Base):
    """A Gaussian over adapter weights that was learned from many people. Immutable.

    New trainings start from a base model's newest prior that is not retired and is of the user's application, or of
    none and so for all. `stale_at`: when a user that it was
    learned from was erased; it should be learned again.
    """

    __tablename__ = "taste_priors"
    __table_args__ = (sa.UniqueConstraint("base_model_id", "version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    base_model_id: Mapped[UUID] = mapped_column(sa.ForeignKey("base_models.id"), index=True)
    version: Mapped[int]
    application: Mapped[str | None] = mapped_column(sa.String(64))  # whose users start from it; None: all
    digest: Mapped[str] = mapped_column(sa.String(64), unique=True)
    artifact_sha256: Mapped[str] = mapped_column(sa.String(64))
    source: Mapped[str] = mapped_column(sa.String(256))
    num_people: Mapped[int]
    metrics: Mapped[dict[str, Any] | None]
    retired_at: Mapped[datetime | None]
    stale_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class TastePriorPersonRow(Base):
    """One user of this deployment whom a taste prior was learned from, with the user's consent."""

    __tablename__ = "taste_prior_people"

    taste_prior_id: Mapped[UUID] = mapped_column(sa.ForeignKey("taste_priors.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)


class AdapterRow(Base):
    """One version of a user's adapter. Immutable, except `state`.

    The active version is the pointer: a unique index allows one active row per user. `high_water_sequence` is the last
    event of the log that the training read, `epoch` the user's epoch then. With the epochs of exclusions, these decide
    which events the version was trained on.
    """

    __tablename__ = "adapters"
    __table_args__ = (
        sa.UniqueConstraint("user_id", "number"),
        partial_unique("uq_adapters_one_active_per_user", "user_id", where="state = 'active'"),
        # All that is asked of active versions again and again, so that rows, which are large, need not be read.
        partial("ix_adapters_active", "user_id", "id", "match_id", "state", where="state = 'active'"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    number: Mapped[int]
    parent_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("adapters.id", ondelete="SET NULL"), index=True)
    base_model_id: Mapped[UUID] = mapped_column(sa.ForeignKey("base_models.id"), index=True)
    taste_prior_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("taste_priors.id"), index=True)
    match_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("matches.id", ondelete="SET NULL"), index=True)
    run_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True)
    kind: Mapped[str] = mapped_column(sa.String(32))
    strategy: Mapped[str] = mapped_column(sa.String(32))
    digest: Mapped[str] = mapped_column(sa.String(64))
    state: Mapped[AdapterState] = mapped_column(enum_type(AdapterState, "state"))
    high_water_sequence: Mapped[int]
    epoch: Mapped[int]
    num_ratings: Mapped[int]
    size_bytes: Mapped[int]
    gate_report: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    preference: Mapped[list[float] | None]  # generic scores were computed with it
    data: Mapped[bytes] = mapped_column(deferred=True)
    learner_state: Mapped[bytes] = mapped_column(deferred=True)
    created_at: Mapped[datetime]


class AdapterHistoryRow(Base):
    """One entry in the history of a user's pointer: actor, time, versions and reason."""

    __tablename__ = "adapter_history"
    __table_args__ = (sa.Index("ix_adapter_history_user_id", "user_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    move: Mapped[PointerMove] = mapped_column(enum_type(PointerMove, "move"))
    from_adapter_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("adapters.id", ondelete="CASCADE"), index=True)
    to_adapter_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("adapters.id", ondelete="CASCADE"), index=True)
    actor: Mapped[str] = mapped_column(sa.String(64))
    reason: Mapped[str] = mapped_column(sa.Text)
    details: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
