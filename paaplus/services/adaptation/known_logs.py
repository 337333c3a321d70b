"""Feedback logs that a worker has read before: of these only newer events are read.

What is known is a hint. Events of a log do not change, but for those whose image is deleted; the last known event is
read with the newer ones, and where it is another one (a backup was restored), the whole log is read. Exclusions are
read each time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import Session

from paaplus.db.tables import UserRow
from paaplus.services.adaptation.known_ratings import RatingsMemory
from paaplus.services.feedback import feedback_log
from paaplus.services.feedback.feedback_log import FeedbackLog
from paaplus.services.predictions.cache import SizedCache

KNOWN_MB: Final = 64
_EVENT_BYTES: Final = 600  # of a parsed event, with its scores and numbers; ids of images are shared

_NOTHING: Final = FeedbackLog(head=0, events=(), retractions={}, exclusions=())
_KEY, _SEQUENCE, _RECEIVED_AT = 1, 2, -1  # places in a row of `event_rows`


@dataclass(frozen=True, slots=True)
class _Known:
    """A log without its exclusions. `last`: tells its last event. `of`: whose it is, which decides what is held out."""

    log: FeedbackLog
    last: tuple[Any, ...]
    of: tuple[str, str | None, str | None]


class KnownLogs:
    """Reads logs, and keeps them up to so many bytes. `ratings`: what is known of the ratings in them."""

    def __init__(self, max_bytes: int = KNOWN_MB * 2**20) -> None:
        self._known: SizedCache[UUID, _Known] = SizedCache(max_bytes)
        self.ratings = RatingsMemory()

    def read_many(
        self, session: Session, users: Collection[UserRow], holdout_key: str | None
    ) -> dict[UUID, FeedbackLog]:
        """As `feedback_log.read_many`. Events whose image was deleted after they were read still name it."""
        known = self._known.get_many([user.id for user in users])
        usable = {
            user.id: known[user.id]
            for user in users
            if user.id in known
            and known[user.id].of == _whose(user, holdout_key)
            and 0 < known[user.id].log.head <= user.feedback_sequence
        }
        first_of = {user_id: each.log.head for user_id, each in usable.items()}
        rows_of = feedback_log.event_rows(session, [(user, first_of.get(user.id, 1)) for user in users])
        for user_id, each in list(usable.items()):
            if _continues(each, rows_of[user_id]):
                rows_of[user_id] = rows_of[user_id][1:]
            else:
                del usable[user_id]
        changed = [(user, 1) for user in users if user.id in first_of and user.id not in usable]
        if changed:
            rows_of |= feedback_log.event_rows(session, changed)
        spans_of = feedback_log.exclusions_of(session, [user.id for user in users])
        logs = {}
        for user in users:
            rows, before = rows_of[user.id], usable.get(user.id)
            log = feedback_log.log_of(user, rows, spans_of[user.id], holdout_key)
            logs[user.id] = log = before.log.followed_by(log) if before is not None else log
            if rows:
                entry = _Known(replace(log, exclusions=()), _identity(rows[-1]), _whose(user, holdout_key))
                self._known.put(user.id, entry, user.feedback_sequence * _EVENT_BYTES)
        return logs

    def read_anew(self, session: Session, user: UserRow, holdout_key: str | None) -> FeedbackLog:
        """The whole log, read from its rows; what was known of it is forgotten."""
        log = feedback_log.read(session, user, holdout_key)
        self._known.put(user.id, _Known(_NOTHING, (), _whose(user, holdout_key)), 0)
        return log


def _whose(user: UserRow, holdout_key: str | None) -> tuple[str, str | None, str | None]:
    return user.application, user.external_id, holdout_key


def _continues(known: _Known, rows: Sequence[Sequence[Any]]) -> bool:
    """Whether the first row is the last event that is known."""
    return bool(rows) and _identity(rows[0]) == known.last


def _identity(row: Sequence[Any]) -> tuple[Any, ...]:
    """Tells an event from another one that has its number in another state of the database."""
    return row[_SEQUENCE], row[_KEY], row[_RECEIVED_AT]
