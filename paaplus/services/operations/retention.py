"""Retention: delete what is older than the deployment keeps it, in small transactions.

It deletes receipts that no feedback names, finished jobs, events with their deliveries, all but the newest changes of
who is served by what, and what uploads of killed
processes have left in the storage. It keeps
feedback, versions, history, runs and the audit: rollbacks, refits and explanations need them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.locks import keep_users
from paaplus.db.tables import EventRow, FeedbackRow, JobRow, PredictionReceiptRow
from paaplus.db.tables.jobs import JobState
from paaplus.db.types import utcnow
from paaplus.ids import first_id_of
from paaplus.services.images import uploads
from paaplus.services.predictions import serving_changes
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

ROWS_AT_ONCE: Final = 2_000  # of one transaction: requests and trainings wait for it
FINISHED: Final = (JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """Numbers of deleted rows; `num_uploads`: of unfinished uploads, which have no row."""

    num_receipts: int
    num_jobs: int
    num_events: int
    num_uploads: int
    num_serving_changes: int = 0


def apply(database: Database, blobs: BlobStore, settings: Settings) -> RetentionReport:
    """Delete what is too old. Several processes may do it at once; interrupted, the next call goes on.

    Raises:
        Unavailable: the storage does not answer; the rows are deleted then.
    """
    return RetentionReport(
        _delete_older(database, PredictionReceiptRow, settings.keep_receipts_days, ~_is_named()),
        _delete_older(database, JobRow, settings.keep_jobs_days, JobRow.state.in_(FINISHED)),
        _delete_older(database, EventRow, settings.keep_events_days, sa.true()),
        uploads.sweep(database, blobs),
        serving_changes.shorten(database),
    )


def _is_named() -> sa.ColumnElement[bool]:
    """Whether a correction names the receipt."""
    return sa.exists().where(FeedbackRow.receipt_id == PredictionReceiptRow.id)


def _delete_older(database: Database, table: type[Any], days: int, condition: sa.ColumnElement[bool]) -> int:
    """Delete the rows that were made before the last `days` days and meet a condition; 0 days: none.

    Nobody whom they are about is erased meanwhile: that deletes the same rows, in another order.
    """
    if days == 0:
        return 0
    end = first_id_of(utcnow() - timedelta(days=days))  # ids are in order of time, and have an index
    total = 0
    after = None
    while True:
        with database.session() as session:
            query = (
                sa.select(table.id, table.user_id)
                .where(table.id < end, condition)
                .order_by(table.id)
                .limit(ROWS_AT_ONCE)
            )
            if after is not None:
                query = query.where(table.id > after)
            found = session.execute(query).all()
            if not found:
                return total
            ids = [row_id for row_id, _ in found]
            keep_users(session, {user_id for _, user_id in found if user_id is not None})
            session.execute(sa.delete(table).where(table.id.in_(ids)).execution_options(synchronize_session=False))
        total += len(ids)
        after = ids[-1]
