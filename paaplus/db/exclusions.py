"""Which events are excluded, in SQL: an exclusion is of a run of a user's log."""

from __future__ import annotations

import sqlalchemy as sa

from paaplus.db.tables import ExclusionRow, FeedbackRow


def of_event() -> sa.ColumnElement[bool]:
    """The exclusion is of the event, whether it holds or has ended."""
    return sa.and_(
        ExclusionRow.user_id == FeedbackRow.user_id,
        FeedbackRow.sequence.between(ExclusionRow.first_sequence, ExclusionRow.last_sequence),
    )


def is_excluded() -> sa.ColumnElement[bool]:
    """An exclusion of the event holds."""
    return sa.exists().where(of_event(), ExclusionRow.released_at.is_(None))
