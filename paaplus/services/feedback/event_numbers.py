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
from paaplus.db.tables import ExclusionRow, FeedbackRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.services.feedback.counted_events import CountedEvents, ExclusionSpan
from paaplus.services.feedback.feedback_log import exclusions_of

_RETRACTION: Final = FeedbackKind.RETRACTION.value  # as the driver gives it


@dataclass(frozen=True)
class EventNumbers(CountedEvents):
    """One user's log without what its events say.

    `numbers`: of all events except retractions.
    """

    numbers: set[int]
    retractions: dict[int, int]
    exclusions: Sequence[ExclusionSpan]

    def trainable(self) -> set[int]:
        return set(self.numbers)


def with_exceptions(session: Session, user_ids: Collection[UUID]) -> set[UUID]:
    """Those of the users with a retraction, or with an exclusion, also one that ended. The others' events all count."""
    connection = session.connection()
    return {uuid_of(user_id) for (user_id,) in _EXCEPTIONS.rows(connection, ids=listed(connection, user_ids))}


def read_many(session: Session, user_ids: Collection[UUID]) -> dict[UUID, EventNumbers]:
    """The logs of (locked) users, in two statements."""
    if not user_ids:
        return {}
    connection = session.connection()
    numbers: dict[UUID, set[int]] = {user_id: set() for user_id in user_ids}
    retractions: dict[UUID, dict[int, int]] = {user_id: {} for user_id in user_ids}
    rows = _EVENTS.rows(connection, ids=listed(connection, list(numbers)))
    for raw_id, events in groupby(rows, key=itemgetter(0)):
        own_numbers, own_retractions = numbers[uuid_of(raw_id)], retractions[uuid_of(raw_id)]
        for _, sequence, kind, retracts in events:
            if kind == _RETRACTION:
                own_retractions.setdefault(retracts, sequence)  # the first one counts
            else:
                own_numbers.add(sequence)
    spans_of = exclusions_of(session, user_ids)
    return {user_id: EventNumbers(numbers[user_id], retractions[user_id], spans_of[user_id]) for user_id in user_ids}


def _exceptions(dialect: str) -> sa.Select[*tuple[Any, ...]]:
    found = sa.union(
        sa.select(FeedbackRow.user_id).where(
            FeedbackRow.user_id.in_(one_of(dialect, "ids", sa.Uuid())), FeedbackRow.retracts_sequence.is_not(None)
        ),
        sa.select(ExclusionRow.user_id).where(ExclusionRow.user_id.in_(one_of(dialect, "ids", sa.Uuid()))),
    ).subquery()
    return sa.select(found.c.user_id)


_EXCEPTIONS: Final = Prepared(_exceptions)


_EVENTS: Final = Prepared(
    lambda dialect: (
        sa.select(FeedbackRow.user_id, FeedbackRow.sequence, FeedbackRow.kind, FeedbackRow.retracts_sequence)
        .where(FeedbackRow.user_id.in_(one_of(dialect, "ids", sa.Uuid())))
        .order_by(FeedbackRow.user_id, FeedbackRow.sequence)
    )
)
