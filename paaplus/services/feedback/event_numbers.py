"""Logs as numbers: enough to tell which events count and which a version was trained on, of thousands of users."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.prepared import Prepared, listed, one_of
from paaplus.db.raw_values import uuid_of
from paaplus.db.tables import FeedbackRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.services.feedback.counted_events import CountedEvents, ExclusionSpan
from paaplus.services.feedback.feedback_log import exclusions_of

_RETRACTION: Final = FeedbackKind.RETRACTION.value  # as the driver gives it


@dataclass(frozen=True)
class EventNumbers(CountedEvents):
    """One user's log without what its events say.

    `id_of`: ids of all events except retractions, by sequence, as the driver gives them.
    """

    id_of: dict[int, Any]
    retractions: dict[int, int]
    exclusions: Sequence[ExclusionSpan]

    def trainable(self) -> set[int]:
        return set(self.id_of)


def read_many(session: Session, users: Collection[UserRow]) -> dict[UUID, EventNumbers]:
    """The logs of (locked) users, in two statements."""
    connection = session.connection()
    id_of: dict[UUID, dict[int, Any]] = {user.id: {} for user in users}
    retractions: dict[UUID, dict[int, int]] = {user.id: {} for user in users}
    rows = _EVENTS.rows(connection, ids=listed(connection, list(id_of)))
    for raw_id, events in groupby(rows, key=itemgetter(0)):
        own_ids, own_retractions = id_of[uuid_of(raw_id)], retractions[uuid_of(raw_id)]
        for _, sequence, event_id, kind, retracts in events:
            if kind == _RETRACTION:
                own_retractions.setdefault(retracts, sequence)  # the first one counts
            else:
                own_ids[sequence] = event_id
    spans_of = exclusions_of(session, users)
    return {user.id: EventNumbers(id_of[user.id], retractions[user.id], spans_of[user.id]) for user in users}


_EVENTS: Final = Prepared(
    lambda dialect: (
        sa.select(
            FeedbackRow.user_id, FeedbackRow.sequence, FeedbackRow.id, FeedbackRow.kind, FeedbackRow.retracts_sequence
        )
        .where(FeedbackRow.user_id.in_(one_of(dialect, "ids", sa.Uuid())))
        .order_by(FeedbackRow.user_id, FeedbackRow.sequence)
    )
)
