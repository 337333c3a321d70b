"""One process's writer of feedback: postings that wait at the same time are appended in one transaction.

A transaction costs more than the few rows of one posting, above all where every commit waits for the disk. Besides,
SQLite has one write lock, and several threads that wait for it sleep longer than they need to.

A large posting is written in parts, each in a transaction of its own, and between two of them other callers have their
turn.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from paaplus import faults, pauses
from paaplus.db.engine import Database
from paaplus.errors import NotFound
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import AppendResult, NewEvent, PreparedEvent, UsersLocked
from paaplus.services.feedback.postings import PostingQueue
from paaplus.services.users import users as users_service
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings

MAX_EVENTS: Final = 256  # of one transaction, unless one posting has more
MAX_EVENTS_SHARED: Final = 32  # the same while several callers post
LARGE: Final = 16  # events of a posting that is written in parts of so many, each prepared in its caller's thread
ALONE: Final = (128, 512)  # the least and the most of its parts while no other caller is active
HELD_S: Final = 0.05  # for which such a part may hold the write lock
FIRST_EVENT_S: Final = 0.0002  # of the write lock for one event, before any was measured
MEASURED: Final = 64  # events of a transaction that tells it
MAX_WAITING: Final = 1_000  # postings
NUM_PATIENT: Final = 8  # threads for postings to users that another transaction has locked


@dataclass(slots=True)  # not frozen: that costs most of making one
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


@dataclass(slots=True, eq=False)
class _Posting:
    principal: Principal
    posted: Sequence[Posted]
    prepared: _Prepared | None
    is_second_try: bool = False
    result: Future[list[AppendResult]] = field(default_factory=Future)

    @property
    def user(self) -> tuple[str, str] | None:
        """The caller, and the user as the caller names it; None: of several users, or of none."""
        first = self.posted[0].user if self.posted else None
        is_one = first is not None and all(each.user == first for each in self.posted)
        return (self.principal.actor, str(first)) if is_one else None


class FeedbackWriter:
    """Appends the postings of a caller in the order in which they arrive, callers in turns. From any thread.

    A posting to a user that another transaction has locked goes on in another thread. Other users do not wait for it.
    What comes for this user meanwhile goes there too: a try would make the transaction that it shares begin anew.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._waiting = PostingQueue[_Posting](MAX_WAITING, lambda posting: len(posting.posted))
        self._patient = ThreadPoolExecutor(NUM_PATIENT, "feedback-patient")
        self._locked: Counter[tuple[str, str]] = Counter()  # callers and users: postings that wait for a lock
        self._locked_lock = threading.Lock()
        self._event_s = FIRST_EVENT_S
        self._thread = threading.Thread(target=self._run, name="feedback-writer", daemon=True)
        self._thread.start()

    def submit(self, principal: Principal, posted: Sequence[Posted]) -> Future[list[AppendResult]]:
        """Append the events after those of the caller that wait; the result is there when they are committed.

        A large posting is given to the writer part by part, and other callers go first between two of them. A failure
        may leave earlier parts stored. Posted again, these are duplicates.

        Raises:
            Unavailable: too many postings wait.
        """
        if len(posted) <= LARGE:
            posting = _Posting(principal, posted, None)
            self._waiting.put(principal.actor, [posting])
            return posting.result
        by_user = sorted(posted, key=lambda each: each.user)  # parts with as few users as possible
        parts: list[_Posting] = []
        start = 0
        while start < len(by_user):
            end = start + (LARGE if pauses.others_are_active() else self._size_alone())
            part = _Posting(principal, by_user[start:end], None)
            with self._database.read_connection() as connection:  # the checks must not delay the postings of others
                [part.prepared] = _prepare(connection, [(principal, part.posted)])
            if parts:
                wait([parts[-1].result])
            pauses.pause()
            self._waiting.put(principal.actor, [part])
            parts.append(part)
            start = end
        return _together([part.result for part in parts])

    def _size_alone(self) -> int:
        """Events of a part that holds the write lock for some `HELD_S`, on a slow machine too."""
        least, most = ALONE
        return round(min(max(HELD_S / self._event_s, least), most))

    def close(self) -> None:
        """Append what waits, and end the thread."""
        self._waiting.close()
        self._thread.join()
        self._patient.shutdown()

    def _run(self) -> None:
        while taken := self._waiting.take(MAX_EVENTS, MAX_EVENTS_SHARED):
            group = [posting for posting in taken if not self._waits_for_lock(posting)]
            try:
                self._write_at_once(group)
            except Exception as error:
                if _is_unreachable(error):
                    for posting in group:
                        posting.result.set_exception(error)
                elif len(group) == 1:
                    self._answer_error(group[0], error)
                else:
                    self._write_one_by_one(group)

    def _write_one_by_one(self, group: list[_Posting]) -> None:
        """After a transaction has failed: one posting must not fail the others."""
        for posting in group:
            if self._waits_for_lock(posting):
                continue
            try:
                self._write_at_once([posting])
            except Exception as error:
                self._answer_error(posting, error)

    def _write_at_once(self, group: list[_Posting]) -> None:
        """Write the postings in one transaction, but for those to users who are locked: these wait apart."""
        while group and (locked := self._write(group, wait=False)):
            for posting in locked:
                group.remove(posting)
                self._wait_for_lock(posting)

    def _waits_for_lock(self, posting: _Posting) -> bool:
        """Whether another posting of its user waits for the user's lock: then this one does so too from now on."""
        with self._locked_lock:
            is_locked = bool(self._locked) and posting.user in self._locked
        if is_locked:
            self._wait_for_lock(posting)
        return is_locked

    def _wait_for_lock(self, posting: _Posting) -> None:
        user = posting.user
        with self._locked_lock:
            self._locked.update([user] if user is not None else ())

        def write() -> None:
            try:
                self._write_patiently(posting)
            finally:
                with self._locked_lock:
                    self._locked -= Counter([user] if user is not None else ())

        self._patient.submit(write)

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

    def _write(self, group: list[_Posting], *, wait: bool) -> list[_Posting]:
        """Write the postings in one transaction.

        Returns:
            Those to users who are locked, without `wait`; none has been written then.
        """
        prepared: list[_Prepared] = []
        try:
            self._commit(group, prepared, wait=wait)
        except UsersLocked as locked:
            return [
                posting
                for posting, each in zip(group, prepared, strict=True)
                if any(event.user in locked.users for event in each.events)
            ]
        return []

    def _commit(self, group: list[_Posting], prepared: list[_Prepared], *, wait: bool) -> None:
        """As `_write`; `prepared` gets what each posting appends."""
        limit = self._settings.feedback_per_user_per_day
        with self._database.session() as session:
            connection = session.connection()  # SQLite's write lock is held from here on
            began_at = time.perf_counter()
            unprepared = [posting for posting in group if posting.prepared is None]
            found = iter(_prepare(connection, [(posting.principal, posting.posted) for posting in unprepared]))
            prepared += [posting.prepared or next(found) for posting in group]
            events = [event for each in prepared for event in each.events]
            results = iter(
                intake.append_prepared(session, events, settings=self._settings, max_per_day=limit, wait=wait)
            )
            faults.point("feedback_uncommitted")
        faults.point("feedback_committed")
        if len(events) >= MEASURED:
            self._event_s = (time.perf_counter() - began_at) / len(events)
        for posting, each in zip(group, prepared, strict=True):
            posting.result.set_result([*each.results, *(next(results) for _ in each.events)])


def _together(parts: Sequence[Future[list[AppendResult]]]) -> Future[list[AppendResult]]:
    """The results of all parts, or the first error, when all are done."""
    whole: Future[list[AppendResult]] = Future()
    num_left, lock = len(parts), threading.Lock()

    def count(_: Future[list[AppendResult]]) -> None:
        nonlocal num_left
        with lock:
            num_left -= 1
            if num_left:
                return
        if (error := next(filter(None, (part.exception() for part in parts)), None)) is not None:
            whole.set_exception(error)
        else:
            whole.set_result([result for part in parts for result in part.result()])

    for part in parts:
        part.add_done_callback(count)
    return whole


def _is_unreachable(error: Exception) -> bool:
    """Whether the database does not answer: then the other postings would only wait for it one after the other."""
    return isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def _prepare(connection: sa.Connection, postings: Sequence[tuple[Principal, Sequence[Posted]]]) -> list[_Prepared]:
    """Check postings together: a look-up of users for each caller, and a few statements for all events."""
    refs: dict[Principal, set[str]] = {}
    for principal, posted in postings:
        refs.setdefault(principal, set()).update(each.user for each in posted)
    found_users = {
        principal: users_service.ids_and_applications(connection, principal, named) for principal, named in refs.items()
    }
    applications = {user_id: application for users in found_users.values() for user_id, application in users.values()}
    found: list[tuple[int, list[AppendResult]]] = []
    events: list[tuple[NewEvent, str, str | None]] = []
    for principal, posted in postings:
        known, source, application = found_users[principal], principal.actor, principal.application
        of_posting = [
            (each.to_event(user[0]), source, application)
            for each in posted
            if (user := known.get(each.user)) is not None
        ]
        events += of_posting
        found.append((len(of_posting), [_unknown_user(each) for each in posted if each.user not in known]))
    prepared = iter(intake.prepare_each(connection, events, applications))
    return [_Prepared(list(islice(prepared, num)), unknown) for num, unknown in found]


def _unknown_user(posted: Posted) -> AppendResult:
    return AppendResult(
        posted.index, posted.event_id, "rejected", error=NotFound(f"user {posted.user!r} does not exist")
    )
