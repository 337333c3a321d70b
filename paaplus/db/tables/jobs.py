"""Jobs (requested work) and runs (finished trainings)."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base, partial, partial_unique
from paaplus.db.types import enum_type


class JobKind(StrEnum):
    ADAPT = "adapt"
    EXTRACT_FEATURES = "extract_features"
    LABEL_IMAGES = "label_images"
    DRAW_MAP = "draw_map"


class JobState(StrEnum):
    """DEAD: given up after the last attempt, or at once if another attempt cannot help."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"


class RunOutcome(StrEnum):
    PROMOTED = "promoted"
    KEPT = "kept"
    NOTHING_NEW = "nothing_new"


class JobRow(Base):
    """One requested piece of work, leased to at most one worker.

    `lock_key` names the subject of the work (a user, an extractor). Two unique indexes allow one running and one queued
    job of each. `lease_token` is the fence: a worker must still hold it to finish the job. `application` is the user's:
    applications take turns (`queue.turns`).
    """

    __tablename__ = "jobs"
    __table_args__ = (
        partial_unique("uq_jobs_one_running_per_lock", "lock_key", where="state = 'running'"),
        partial_unique("uq_jobs_one_queued_per_lock", "lock_key", where="state = 'queued'"),
        # Few: each index costs every new job, and every change of a state. Expired leases are found by `ix_jobs_turns`.
        partial("ix_jobs_started", "started_at", "application", where="started_at IS NOT NULL"),
        sa.Index("ix_jobs_turns", "state", "application", "queue", "priority", "run_after"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[JobKind] = mapped_column(enum_type(JobKind, "kind"))
    lock_key: Mapped[str] = mapped_column(sa.String(96))
    user_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    application: Mapped[str] = mapped_column(sa.String(64), default="", server_default=sa.text("''"))  # empty: of none
    queue: Mapped[str] = mapped_column(sa.String(24))
    priority: Mapped[int] = mapped_column(default=5)
    state: Mapped[JobState] = mapped_column(enum_type(JobState, "state"))
    reason: Mapped[str] = mapped_column(sa.String(64))
    payload: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    run_after: Mapped[datetime]
    lease_token: Mapped[UUID | None]
    lease_expires_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(sa.String(128))
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class RunRow(Base):
    """One finished training: its input, configuration, duration and outcome."""

    __tablename__ = "runs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("jobs.id", ondelete="SET NULL"), unique=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    base_model_id: Mapped[UUID] = mapped_column(sa.ForeignKey("base_models.id"), index=True)
    strategy: Mapped[str] = mapped_column(sa.String(32))
    config: Mapped[dict[str, Any]]
    seed: Mapped[int]
    from_sequence: Mapped[int]
    to_sequence: Mapped[int]
    num_new: Mapped[int]
    num_held_out: Mapped[int]
    device: Mapped[str] = mapped_column(sa.String(32))
    outcome: Mapped[RunOutcome] = mapped_column(enum_type(RunOutcome, "outcome"))
    metrics: Mapped[dict[str, Any]]
    timings: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
