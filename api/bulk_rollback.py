"""Rollbacks of many users in one call."""

from __future__ import annotations

from fastapi import APIRouter

from paaplus.api.dependencies import AdminKey, Context
from paaplus.api.routing import Route
from paaplus.api.schemas.bulk_rollback import BulkRollbackIn, BulkRollbackOut
from paaplus.services.adapters import bulk_rollback

router = APIRouter(prefix="/v1/adapters", tags=["adapters"], route_class=Route)


@router.post("/rollback")
def roll_back_many(body: BulkRollbackIn, key: AdminKey, context: Context) -> BulkRollbackOut:
    """Serve earlier versions again, for all users whose active version meets the conditions.

    Each user gets the newest earlier version that does not meet them, or else the base model. One call does up to
    `limit` users; `next_after` is for the next call. Users who are done do not match any more, so a repeated call
    changes nothing for them. With `dry_run` nothing is changed.
    """
    report = bulk_rollback.roll_back(
        context.database,
        body.selection(),
        feedback=body.feedback,
        actor=key.actor,
        reason=body.reason,
        dry_run=body.dry_run,
        limit=body.limit,
        after=body.after,
    )
    return BulkRollbackOut.of(report, dry_run=body.dry_run)
