"""Jobs that a principal may see. The queue itself is in `paaplus.queue`."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import JobRow, RunRow
from paaplus.db.tables.jobs import JobState
from paaplus.errors import NotFound
from paaplus.queue import jobs as queue
from paaplus.services.users import users
from paaplus.services.users.keys import Principal


@dataclass(frozen=True, slots=True)
class ImageError:
    """Why a tool has not labelled an image."""

    tool: str
    image_id: UUID
    error: str


def list_jobs(
    session: Session,
    principal: Principal,
    *,
    user: str | None = None,
    state: JobState | None = None,
    limit: int = 100,
    before: UUID | None = None,
) -> list[JobRow]:
    """Jobs about users that this principal may see (an admin: all jobs), newest first.

    Args:
        user: only jobs about the user of this reference.

    Raises:
        NotFound: no such user.
    """
    user_id = users.resolve(session, principal, user).id if user is not None else principal.user_id
    return queue.list_jobs(
        session, user_id=user_id, application=principal.application, state=state, limit=limit, before=before
    )


def get(session: Session, principal: Principal, job_id: UUID) -> tuple[JobRow, RunRow | None]:
    """One job, with its run if it was a training. Every principal may see a job that is about no user.

    Raises:
        NotFound: no such job for this principal.
    """
    row = queue.get(session, job_id)
    if row.user_id is not None and str(row.user_id) not in users.resolve_many(session, principal, [str(row.user_id)]):
        raise NotFound(f"job {job_id} does not exist")
    run = session.execute(sa.select(RunRow).where(RunRow.job_id == job_id)).scalar_one_or_none()
    return row, run


def may_see_errors(principal: Principal, row: JobRow) -> bool:
    """Whether this principal may read a job's errors: a job about no user may name other applications' images."""
    if row.user_id is not None or principal.application is None:
        return True
    return principal.user_id is None and row.payload.get("application") == principal.application


def image_errors(row: JobRow) -> tuple[list[ImageError], int]:
    """The first errors of a labelling job, and their total number. Other jobs have none."""
    stored: dict[str, str] = row.payload.get("errors", {})
    errors = [
        ImageError(tool, UUID(image_id), error)
        for (tool, image_id), error in ((name.rsplit(" ", 1), error) for name, error in stored.items())
    ]
    return errors, int(row.payload.get("num_errors", 0))
