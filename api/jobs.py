"""Jobs of the workers, and their progress."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query

from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import Limit, ReadSession, UserKey
from paaplus.api.routing import router_of
from paaplus.api.schemas.adapters import RunOut
from paaplus.api.schemas.common import OfUser, Page
from paaplus.api.schemas.jobs import ImageErrorOut, JobDetailOut, JobOut, JobProgressOut
from paaplus.db.tables import JobRow
from paaplus.db.tables.jobs import JobState
from paaplus.services.operations import jobs as jobs_service
from paaplus.services.users.keys import Principal

router = router_of("/v1/jobs", "jobs")


@router.get("")
def list_jobs(
    key: UserKey,
    session: ReadSession,
    cursor: Cursor,
    user: Annotated[OfUser | None, Query(description="Only this user's jobs.")] = None,
    state: JobState | None = None,
    limit: Limit = 50,
) -> Page[JobOut]:
    """Jobs of the users that the key may see. An admin key sees all jobs."""
    rows = jobs_service.list_jobs(session, key, user=user, state=state, limit=limit, before=cursor.after)
    return Page(items=[JobOut(**_fields(row, key)) for row in rows], next_cursor=cursor.next(rows, limit))


@router.get("/{job_id}")
def get_job(job_id: UUID, key: UserKey, session: ReadSession) -> JobDetailOut:
    """One job with its result. Every key may see feature extraction, because several users may wait for it."""
    row, run = jobs_service.get(session, key, job_id)
    errors, num_errors = jobs_service.image_errors(row) if jobs_service.may_see_errors(key, row) else ([], 0)
    return JobDetailOut(
        **_fields(row, key),
        run=RunOut.model_validate(run) if run is not None else None,
        image_errors=[ImageErrorOut.model_validate(error) for error in errors],
        num_image_errors=num_errors,
    )


def _fields(row: JobRow, key: Principal) -> dict[str, object]:
    names = set(JobOut.model_fields) - {"progress", "last_error"}
    return {name: getattr(row, name) for name in names} | {
        "progress": JobProgressOut(done=row.progress_done, total=row.progress_total),
        "last_error": row.last_error if jobs_service.may_see_errors(key, row) else None,
    }
