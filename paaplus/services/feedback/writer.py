"""One process's writer of feedback: postings that wait at the same time are appended in one transaction.

A transaction costs more than the few rows of one posting, above all where every commit waits for the disk. Besides,
SQLite has one write lock, and several threads that wait for it sleep longer than they need to.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from uuid import UUID

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.db.engine import Database
from paaplus.errors import NotFound, Unavailable
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import AppendResult, NewEvent, PreparedEvent
from paaplus.services.users import users as users_service
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings

MAX_EVENTS: Final = 256  # of one transaction, unless one posting has more
LARGE: Final = 64  # events of a posting that is prepared in its caller's thread
MAX_WAITING: Final = 1_000  # postings
NUM_PATIENT: Final = 8  # threads for postings to users that another transaction has locked
_LOCK_NOT_AVAILABLE: Final = "55P03"  # of PostgreSQL


@dataclass(frozen=True, slots=True)
class Posted:
    """One event of a posting. `user` is the caller's reference; `to_event` makes the event of the user's id."""

    index: int
    event_id: str
    user: str
    to_event: Callable[[UUID], NewEvent]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What a posting appends, and the results of the events that it cannot append."""

    events: list[PreparedEvent]
    results: list[AppendResult]


@dataclass(slots=True)
class _Posting:
    principal: Principal
    posted: Sequence[Posted]
    prepared: _Prepared | None
    is_second_try: bool = False
    result: Future[list[AppendResult]] = field(default_factory=Future)


class FeedbackWriter:
    """Appends postings in the order in which they arrive. Postings may come from any thread.

    A posting to a user that another transaction has locked goes on in another thread. Other users do not wait for it.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._waiting: queue.Queue[_Posting | None] = queue.Queue(MAX_WAITING)
        self._patient = ThreadPoolExecutor(NUM_PATIENT, "feedback-patient")
        self._thread = threading.Thread(target=self._run, name="feedback-writer", daemon=True)
        self._thread.start()

    def submit(self, principal: Principal, posted: Sequence[Posted]) -> Future[list[AppendResult]]:
        """Append the events after those that wait; the result is there when they are committed.

        Raises:
            Unavailable: too many postings wait.
        """
        prepared = None
        if len(posted) > LARGE:  # the checks of many events must not delay the postings of others
            with self._database.read_session() as session:
                [prepared] = _prepare(session, [(principal, posted)])
        posting = _Posting(principal, posted, prepared)
        try:
            self._waiting.put_nowait(posting)
        except queue.Full:
            raise Unavailable("too much feedback at once; try again") from None
        return posting.result

    def close(self) -> None:
        """Append what waits, and end the thread."""
        self._waiting.put(None)
        self._thread.join()
        self._patient.shutdown()

    def _run(self) -> None:
        following: _Posting | None = None
        while (first := following or self._waiting.get()) is not None:
            group, following = self._group(first)
            try:
                self._write(group, wait=False)
            except Exception as error:
                if _is_unreachable(error):
                    for posting in group:
                        posting.result.set_exception(error)
                elif len(group) == 1:
                    self._failed(group[0], error)
                else:
                    self._write_one_by_one(group)

    def _group(self, first: _Posting) -> tuple[list[_Posting], _Posting | None]:
        """The first posting with those that wait too, and the one that did not fit any more."""
        group, num_events = [first], len(first.posted)
        while num_events < MAX_EVENTS:
            try:
                posting = self._waiting.get_nowait()
            except queue.Empty:
                break
            if posting is None:
                self._waiting.put(None)  # read again when the group is written
                break
            if num_events + len(posting.posted) > MAX_EVENTS:
                return group, posting
            group.append(posting)
            num_events += len(posting.posted)
        return group, None

    def _write_one_by_one(self, group: list[_Posting]) -> None:
        """After a transaction has failed: one posting must not fail the others."""
        for posting in group:
            try:
                self._write([posting], wait=False)
            except Exception as error:
                self._failed(posting, error)

    def _failed(self, posting: _Posting, error: Exception) -> None:
        """After the first try."""
        if isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            self._patient.submit(self._write_patiently, posting)
        else:
            self._answer_error(posting, error)

    def _write_patiently(self, posting: _Posting) -> None:
        try:
            self._write([posting], wait=True)
        except Exception as error:  # a lock that was not to be had in this time is not waited for once more
            self._answer_error(posting, error)

    def _answer_error(self, posting: _Posting, error: Exception) -> None:
        if isinstance(error, IntegrityError) and not posting.is_second_try:
            # An image was deleted, or a user erased, after the events were checked: checked again, they are rejected.
            posting.prepared, posting.is_second_try = None, True
            self._patient.submit(self._write_patiently, posting)
        else:
            posting.result.set_exception(error)

    def _write(self, group: list[_Posting], *, wait: bool) -> None:
        limit = self._settings.feedback_per_user_per_day
        with self._database.session() as session:
            unprepared = [posting for posting in group if posting.prepared is None]
            found = iter(_prepare(session, [(posting.principal, posting.posted) for posting in unprepared]))
            prepared = [posting.prepared or next(found) for posting in group]
            events = [event for each in prepared for event in each.events]
            results = iter(
                intake.append_prepared(session, events, settings=self._settings, max_per_day=limit, wait=wait)
            )
            faults.point("feedback_uncommitted")
        faults.point("feedback_committed")
        for posting, each in zip(group, prepared, strict=True):
            posting.result.set_result([*each.results, *(next(results) for _ in each.events)])


def _is_unreachable(error: Exception) -> bool:
    """Whether the database does not answer: then the other postings would only wait for it one after the other."""
    return isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def _prepare(session: Session, postings: Sequence[tuple[Principal, Sequence[Posted]]]) -> list[_Prepared]:
    """Check postings together: a look-up of users for each caller, and a few statements for all events."""
    refs: dict[Principal, set[str]] = {}
    for principal, posted in postings:
        refs.setdefault(principal, set()).update(each.user for each in posted)
    ids = {principal: users_service.resolve_ids(session, principal, named) for principal, named in refs.items()}
    found: list[tuple[int, list[AppendResult]]] = []
    events: list[tuple[NewEvent, str, str | None]] = []
    for principal, posted in postings:
        known, source, application = ids[principal], principal.actor, principal.application
        of_posting = [
            (each.to_event(user_id), source, application)
            for each in posted
            if (user_id := known.get(each.user)) is not None
        ]
        events += of_posting
        found.append((len(of_posting), [_unknown_user(each) for each in posted if each.user not in known]))
    prepared = iter(intake.prepare_each(session, events))
    return [_Prepared(list(islice(prepared, num)), unknown) for num, unknown in found]


def _unknown_user(posted: Posted) -> AppendResult:
    return AppendResult(
        posted.index, posted.event_id, "rejected", error=NotFound(f"user {posted.user!r} does not exist")
    )
