"""Rollbacks of many users in one call."""

from __future__ import annotations

from paaplus.api.cursors import ListCursor
from paaplus.api.dependencies import AdminKey, Context
from paaplus.api.routing import router_of
from paaplus.api.schemas.bulk_rollback import BulkRollbackIn, BulkRollbackOut
from paaplus.services.adapters import bulk_rollback

router = router_of("/v1/adapters", "adapters")


@router.post("/rollback")
def roll_back_many(body: BulkRollbackIn, key: AdminKey, context: Context) -> BulkRollbackOut:
    """Serve earlier versions again, for all users whose active version meets the conditions.

    Each user gets the newest earlier version that does not meet them, or else the base model. One call does up to
    `limit` users; `next_after` is for the next call. Users who are done do not match any more, so a repeated call
    changes nothing for them. With `dry_run` nothing is changed.
    """
    conditions = body.model_dump(mode="json", exclude={"after", "limit", "dry_run", "reason"})
    cursor = ListCursor.of(f"{router.prefix}/rollback", conditions, key, body.after, place=("body", "after"))
    report = bulk_rollback.roll_back(
        context.database,
        body.selection(),
        feedback=body.feedback,
        actor=key.actor,
        reason=body.reason,
        dry_run=body.dry_run,
        limit=body.limit,
        after=cursor.after,
    )
    return BulkRollbackOut.of(report, cursor.at(report.next_after), dry_run=body.dry_run)
