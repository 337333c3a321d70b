"""Logs as numbers: enough to tell which events count and which a version was trained on, of thousands of users."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.prepared import Prepared, listed, one_of
from paaplus.db.raw_values import uuid_of
from paaplus.db.row_sets import encoded, row_set
from paaplus.db.tables import ExclusionRow, FeedbackRow
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


def with_exceptions(session: Session, user_ids: Collection[UUID]) -> set[UUID]:
    """Those of the users with a retraction, or with an exclusion, also one that ended. The others' events all count."""
    connection = session.connection()
    return {uuid_of(user_id) for (user_id,) in _EXCEPTIONS.rows(connection, ids=listed(connection, user_ids))}


def count_after(session: Session, high_water: Mapping[UUID, int]) -> dict[UUID, int]:
    """How many events follow a sequence number, by user, of users without exceptions.

    Args:
        high_water: the sequence number, by user.
    """
    connection = session.connection()
    rows = _COUNT_AFTER.rows(connection, users=encoded(connection.dialect.name, high_water.items()))
    return {uuid_of(user_id): count for user_id, count in rows}


def read_many(session: Session, user_ids: Collection[UUID]) -> dict[UUID, EventNumbers]:
    """The logs of (locked) users, in two statements."""
    if not user_ids:
        return {}
    connection = session.connection()
    id_of: dict[UUID, dict[int, Any]] = {user_id: {} for user_id in user_ids}
    retractions: dict[UUID, dict[int, int]] = {user_id: {} for user_id in user_ids}
    rows = _EVENTS.rows(connection, ids=listed(connection, list(id_of)))
    for raw_id, events in groupby(rows, key=itemgetter(0)):
        own_ids, own_retractions = id_of[uuid_of(raw_id)], retractions[uuid_of(raw_id)]
        for _, sequence, event_id, kind, retracts in events:
            if kind == _RETRACTION:
                own_retractions.setdefault(retracts, sequence)  # the first one counts
            else:
                own_ids[sequence] = event_id
    spans_of = exclusions_of(session, user_ids)
    return {user_id: EventNumbers(id_of[user_id], retractions[user_id], spans_of[user_id]) for user_id in user_ids}


def _exceptions(dialect: str) -> sa.Select[*tuple[Any, ...]]:
    found = sa.union(
        sa.select(FeedbackRow.user_id).where(
            FeedbackRow.user_id.in_(one_of(dialect, "ids", sa.Uuid())), FeedbackRow.retracts_sequence.is_not(None)
        ),
        sa.select(ExclusionRow.user_id).where(ExclusionRow.user_id.in_(one_of(dialect, "ids", sa.Uuid()))),
    ).subquery()
    return sa.select(found.c.user_id)


_EXCEPTIONS: Final = Prepared(_exceptions)


def _count_after(dialect: str) -> sa.Select[*tuple[Any, ...]]:
    users = row_set(dialect, "users", {"id": sa.Uuid(), "high_water": sa.Integer()})
    later = FeedbackRow.user_id == users.c.id, FeedbackRow.sequence > users.c.high_water
    return sa.select(users.c.id, sa.select(sa.func.count()).where(*later).scalar_subquery())


_COUNT_AFTER: Final = Prepared(_count_after)
_EVENTS: Final = Prepared(
    lambda dialect: (
        sa.select(
            FeedbackRow.user_id, FeedbackRow.sequence, FeedbackRow.id, FeedbackRow.kind, FeedbackRow.retracts_sequence
        )
        .where(FeedbackRow.user_id.in_(one_of(dialect, "ids", sa.Uuid())))
        .order_by(FeedbackRow.user_id, FeedbackRow.sequence)
    )
)
