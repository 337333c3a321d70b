"""Jobs."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from paaplus.api.schemas.adapters import RunOut
from paaplus.api.schemas.common import Out
from paaplus.db.tables.jobs import JobKind, JobState


class JobProgressOut(Out):
    """Steps of the job; both are 0 before it starts."""

    done: int
    total: int


class JobOut(Out):
    id: UUID
    kind: JobKind
    state: JobState
    reason: str = Field(examples=["new_feedback"])
    user_id: UUID | None
    queue: str
    attempts: int
    max_attempts: int
    progress: JobProgressOut
    last_error: str | None
    run_after: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ImageErrorOut(Out):
    tool: str = Field(examples=["sharpness"])
    image_id: UUID
    error: str


class JobDetailOut(JobOut):
    """A job with its training run, or with the images that it could not label."""

    run: RunOut | None
    image_errors: list[ImageErrorOut] = Field(description="At most the first hundred; all other images are labelled.")
    num_image_errors: int
