"""The job queue: enqueue, claim with a lease, heartbeat, complete, retry, and requeue after expired leases.

At most one job per `lock_key` is running and one is queued, whatever the number of workers and schedulers: two
partial unique indexes ensure this. The lease token is the fence: it proves that a worker still holds a job.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from types import MappingProxyType
from typing import Any, Final, cast
from uuid import UUID, uuid4

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import TypeEngine

from paaplus.db.clock import db_now
from paaplus.db.engine import Database
from paaplus.db.locks import lock_columns
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of
from paaplus.db.raw_values import document_of
from paaplus.db.row_sets import driver_value, encoded, row_set
from paaplus.db.selected import given, id_values, numbered_id
from paaplus.db.tables import JobRow, UserRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import LeaseLost, NotFound, Unavailable
from paaplus.ids import new_id
from paaplus.queue import bell, turns

CLAIM_TRIES = 5
DEFAULT_PRIORITY = 5
NO_WEIGHTS: Mapping[str, float] = MappingProxyType({})
CLOCK_SLACK = timedelta(seconds=60)  # clocks of several hosts differ
_JOBS: Final = cast(sa.Table, JobRow.__table__)


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed job. `token` proves that the worker still holds it."""

    job_id: UUID
    token: UUID
    kind: JobKind
    lock_key: str
    user_id: UUID | None
    payload: dict[str, Any]
    reason: str
    attempt: int
    max_attempts: int


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter: `U(.5, 1) * min(cap, base * 2**attempt)`."""

    base_s: float
    cap_s: float

    def delay(self, attempt: int) -> timedelta:
        return timedelta(seconds=random.uniform(0.5, 1.0) * min(self.cap_s, self.base_s * 2.0**attempt))


def enqueue(
    session: Session,
    kind: JobKind,
    lock_key: str,
    *,
    queue: str,
    reason: str,
    max_attempts: int,
    user_id: UUID | None = None,
    payload: dict[str, Any] | None = None,
    priority: int = DEFAULT_PRIORITY,
    delay_s: float = 0.0,
) -> UUID:
    """Enqueue a job in the caller's transaction; returns its id. If one is queued under `lock_key`, returns that.

    The queued job stays share-locked until the caller commits. Otherwise a worker could claim it before the caller's
    rows are visible.
    """
    session.flush()
    if (job_id := find_queued(session.connection(), lock_key)) is not None:
        if delay_s == 0.0:
            bell.ring(session, queue)
        return job_id
    now = db_now(session)
    row = {
        "id": new_id(),
        "kind": kind,
        "lock_key": lock_key,
        "user_id": user_id,
        "application": _application_of(session, user_id),
        "queue": queue,
        "priority": priority,
        "state": JobState.QUEUED,
        "reason": reason,
        "payload": payload or {},
        "max_attempts": max_attempts,
        "run_after": now + timedelta(seconds=delay_s),
        "created_at": now,
    }
    for _ in range(CLAIM_TRIES):
        insert_ignoring_conflicts(session, JobRow, [row])
        job_id = find_queued(session.connection(), lock_key)
        if job_id is not None:
            if delay_s == 0.0:
                bell.ring(session, queue)
            return job_id
    raise Unavailable(f"the job queue is too busy to accept work under {lock_key!r}")


def find_queued(connection: sa.Connection, lock_key: str) -> UUID | None:
    """The queued job under this key, share-locked where the transaction may write; None: there is none."""
    is_read_only = connection.get_execution_options().get("read_only", False)
    rows = (_QUEUED_ID if is_read_only else _QUEUED_ID_LOCKED).rows(connection, lock_key=lock_key)
    return as_uuid(rows[0][0]) if rows else None


def _queued_id(_dialect: str) -> sa.Select[Any]:
    key = sa.bindparam("lock_key", type_=sa.String())
    return sa.select(JobRow.id).where(JobRow.lock_key == key, sa.text("jobs.state = 'queued'"))


_QUEUED_ID: Final = Prepared(_queued_id)
_QUEUED_ID_LOCKED: Final = Prepared(lambda dialect: _queued_id(dialect).with_for_update(read=True))


def enqueue_adaptations(
    session: Session, users: Sequence[tuple[str, str, str]], *, queue: str, max_attempts: int, now: datetime
) -> None:
    """Enqueue a training for each (user, reason, application), in one statement. A user with a queued job keeps that.

    As in `enqueue`, a job that is queued already stays locked until the caller commits.

    Args:
        users: in the order in which their jobs are to be locked; ids are texts.
    """
    if not users:
        return
    session.flush()
    connection = session.connection()
    values = adaptation_values(connection, queue=queue, max_attempts=max_attempts, now=now)
    _ENQUEUE.rows(connection, wanted=to_json(users).decode(), **values)
    bell.ring(session, queue)


def adaptation_values(connection: sa.Connection, *, queue: str, max_attempts: int, now: datetime) -> dict[str, Any]:
    """The values of `enqueuing` for one execution."""
    moment = driver_value(connection.dialect.name, now)
    return {"now": moment, "queue": queue, "max_attempts": max_attempts, "priority": DEFAULT_PRIORITY, **id_values()}


def adaptation_lock_key(user_id: UUID) -> str:
    """The lock key of a user's trainings."""
    return f"{_ADAPT}{user_id}"


_ADAPT: Final = "adapt:"


def enqueuing(dialect: str, rows: sa.FromClause) -> sa.Insert:
    """The insert of a training for each row (`user_id`, `reason`, `application`), in their order; see
    `enqueue_adaptations`."""
    if dialect == "sqlite":  # which works out anew, each time it is named, what a subquery without a limit selects
        rows = sa.select(rows).limit(sa.literal_column("-1")).subquery("each")
    values = {
        "id": numbered_id(dialect),
        "lock_key": sa.literal(_ADAPT) + _dashed(dialect, rows.c.user_id),
        "user_id": rows.c.user_id,
        "reason": rows.c.reason,
        "kind": sa.literal(JobKind.ADAPT, _JOBS.c.kind.type),
        "queue": given(dialect, "queue", _JOBS.c.queue.type),
        "priority": given(dialect, "priority", _JOBS.c.priority.type),
        "state": sa.literal(JobState.QUEUED, _JOBS.c.state.type),
        "payload": sa.literal({}, _JOBS.c.payload.type),
        "attempts": sa.literal(0),
        "max_attempts": given(dialect, "max_attempts", _JOBS.c.max_attempts.type),
        "run_after": given(dialect, "now", _JOBS.c.run_after.type),
        "progress_done": sa.literal(0),
        "progress_total": sa.literal(0),
        "created_at": given(dialect, "now", _JOBS.c.created_at.type),
        "application": rows.c.application,
    }
    selected, columns = sa.select(*values.values()), list(values)
    of_queued: dict[str, Any] = {"index_elements": ["lock_key"], "index_where": sa.text("state = 'queued'")}
    if dialect == "sqlite":  # where the caller has the write lock; without a condition `ON` would begin that of a join
        skipping = sqlite.insert(_JOBS).from_select(columns, selected.where(sa.text("1 = 1")))
        return skipping.on_conflict_do_nothing(**of_queued)
    insert = postgresql.insert(_JOBS).from_select(columns, selected)
    return insert.on_conflict_do_update(**of_queued, set_={"lock_key": insert.excluded.lock_key})


def _dashed(dialect: str, user_id: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """An id as `str` writes it."""
    if dialect == "postgresql":
        return sa.cast(user_id, sa.Text())
    digits = sa.type_coerce(user_id, sa.String())
    first, *others = (sa.func.substr(digits, start, length) for start, length in _GROUPS)
    return reduce(lambda text, group: text + "-" + group, others, first)


_GROUPS: Final = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))  # of digits: first and number
_WANTED: Final[dict[str, TypeEngine[Any]]] = {"user_id": sa.Uuid(), "reason": sa.String(), "application": sa.String()}
_ENQUEUE: Final = Prepared(lambda dialect: enqueuing(dialect, row_set(dialect, "wanted", _WANTED)))


def _application_of(session: Session, user_id: UUID | None) -> str:
    if user_id is None:
        return ""
    return session.execute(sa.select(UserRow.application).where(UserRow.id == user_id)).scalar_one_or_none() or ""


def run_sooner(session: Session, job_id: UUID, *, reason: str, priority: int) -> None:
    """Make a queued job ready now, with a new reason and priority."""
    session.execute(
        sa.update(JobRow)
        .where(JobRow.id == job_id, JobRow.state == JobState.QUEUED)
        .values(reason=reason, priority=priority, run_after=db_now(session))
    )


def claim(database: Database, *, worker: str, queues: list[str], lease_s: float) -> Lease | None:
    """Claim the next ready job of these queues; None: there is none. A job waits while one of its lock key runs."""
    leases = claim_together(database, worker=worker, queues=queues, lease_s=lease_s, limit=1)
    return leases[0] if leases else None


def claim_together(
    database: Database,
    *,
    worker: str,
    queues: list[str],
    lease_s: float,
    limit: int,
    weights: Mapping[str, float] = NO_WEIGHTS,
) -> list[Lease]:
    """Claim the next ready job of these queues, and following jobs that can be done in one batch with it.

    Applications take turns, see `turns`.

    Only adaptation jobs without a former attempt are batched. A job that has failed, or killed its worker, is claimed
    alone, so that it cannot make others fail. The batch ends at the first ready job that cannot be batched, so the
    order of the queue is kept.

    Args:
        database: with the job table.
        worker: name of the worker.
        queues: of the worker.
        lease_s: length of the lease.
        limit: the largest batch, 1 or more.
        weights: of applications in their turns; 1 for those that are not named.

    Returns:
        Leases in the order of the queue, each with its own token; empty if no job is ready.
    """
    for _ in range(CLAIM_TRIES):
        with database.read_session() as session:  # SQLite's write lock is not taken for it
            shares = turns.shares(session, queues, db_now(session), weights)
        if not shares:
            return []
        try:
            with database.session() as session:
                return _claim_once(session, worker, queues, lease_s, limit, shares, weights)
        except IntegrityError:
            continue  # another worker claimed a job of the same lock key meanwhile
    return []


def _claim_once(
    session: Session,
    worker: str,
    queues: list[str],
    lease_s: float,
    limit: int,
    shares: turns.Shares,
    weights: Mapping[str, float],
) -> list[Lease]:
    now = db_now(session)
    chosen: list[UUID] = []
    for job_id, can_be_batched in _in_turn(session, queues, now, limit, shares, weights):
        if chosen and not can_be_batched:
            break
        chosen.append(job_id)
        if not can_be_batched or len(chosen) == limit:
            break
    if not chosen:
        return []
    connection, tokens = session.connection(), {job_id: uuid4() for job_id in chosen}
    dialect = connection.dialect.name
    rows = _CLAIM.rows(
        connection,
        claimed=encoded(dialect, tokens.items()),
        worker=worker,
        now=driver_value(dialect, now),
        expires_at=driver_value(dialect, now + timedelta(seconds=lease_s)),
    )
    leases = {as_uuid(row[0]): _lease(tokens[as_uuid(row[0])], *row) for row in rows}
    return [leases[job_id] for job_id in chosen]


def _claiming(dialect: str) -> ReturningUpdate[*tuple[Any, ...]]:
    claimed = row_set(dialect, "claimed", {"job": sa.Uuid(), "token": sa.Uuid()})
    values = {
        "state": JobState.RUNNING,
        "attempts": _JOBS.c.attempts + 1,
        "lease_token": claimed.c.token,
        "lease_expires_at": sa.bindparam("expires_at", type_=_JOBS.c.lease_expires_at.type),
        "worker": sa.bindparam("worker", type_=sa.String()),
        "started_at": sa.bindparam("now", type_=_JOBS.c.started_at.type),
    }
    told = ("id", "kind", "lock_key", "user_id", "payload", "reason", "attempts", "max_attempts")
    claim = sa.update(_JOBS).where(_JOBS.c.id == claimed.c.job, _JOBS.c.state == JobState.QUEUED).values(values)
    return claim.returning(*[_JOBS.c[name] for name in told])


_CLAIM: Final = Prepared(_claiming)


def _in_turn(
    session: Session, queues: list[str], now: datetime, limit: int, shares: turns.Shares, weights: Mapping[str, float]
) -> Iterator[tuple[UUID, bool]]:
    """Ready jobs in the order of turns, each with whether it can be batched. They are locked when they are read."""
    wanted = {"queues": queues, "now": now, "num_wanted": limit}
    waiting: dict[str, list[tuple[UUID, bool]]] = {}
    ended: set[str] = set()
    for application in turns.deal(shares, weights):
        if application in ended:
            if len(ended) == len(shares):
                return
            continue
        if application not in waiting:
            rows = session.execute(_READY, {**wanted, "of_application": application}).all()
            waiting[application] = [(job_id, bool(batched)) for job_id, batched in reversed(rows)]
        if waiting[application]:
            yield waiting[application].pop()
        else:
            ended.add(application)
            if len(ended) == len(shares):
                return


def _lease(
    token: UUID,
    job_id: Any,
    kind: str,
    lock_key: str,
    user_id: Any,
    payload: Any,
    reason: str,
    attempt: int,
    max_attempts: int,
) -> Lease:
    """Of a job's columns, as the driver gives them."""
    user = as_uuid(user_id) if user_id is not None else None
    document = document_of(payload)
    return Lease(as_uuid(job_id), token, JobKind(kind), lock_key, user, document, reason, attempt, max_attempts)


def _update_held(session: Session, lease: Lease, **values: Any) -> bool:
    result = session.execute(
        sa.update(JobRow)
        .where(JobRow.id == lease.job_id, JobRow.lease_token == lease.token, JobRow.state == JobState.RUNNING)
        .values(**values)
    )
    return int(result.rowcount) == 1  # type: ignore[attr-defined]


def heartbeat(session: Session, leases: Collection[Lease], lease_s: float) -> set[UUID]:
    """Extend leases, in one statement; returns the ids of the jobs that are still held."""
    tokens = {lease.job_id: lease.token for lease in leases}
    if session.get_bind().dialect.name == "postgresql":
        session.execute(_IN_ORDER, {"job_ids": list(tokens)})
    held = session.execute(
        sa.update(JobRow)
        .where(
            JobRow.id.in_(tokens),
            JobRow.lease_token.in_(tokens.values()),
            JobRow.state == JobState.RUNNING,
        )
        .values(lease_expires_at=db_now(session) + timedelta(seconds=lease_s))
        .returning(JobRow.id)
    )
    return set(held.scalars())


def report_progress(session: Session, lease: Lease, done: int, total: int) -> None:
    """Record a job's progress.

    Raises:
        LeaseLost: another worker holds the job.
    """
    if not _update_held(session, lease, progress_done=done, progress_total=total):
        raise LeaseLost(f"job {lease.job_id}: the lease is held by another worker now")


def report_totals(session: Session, totals: Sequence[tuple[Lease, int]]) -> None:
    """Record how much each of these jobs will do. Jobs that another worker holds now are left as they are."""
    in_order = sorted(totals, key=lambda each: each[0].job_id)  # see `_IN_ORDER`
    held = [{"job": lease.job_id, "token": lease.token, "total": total} for lease, total in in_order]
    if held:
        session.connection().execute(_TOTAL, held)


_TOTAL: Final = (
    sa.update(_JOBS)
    .where(
        JobRow.id == sa.bindparam("job"),
        JobRow.lease_token == sa.bindparam("token"),
        JobRow.state == JobState.RUNNING,
    )
    .values(progress_done=0, progress_total=sa.bindparam("total"))
)


def complete(session: Session, lease: Lease) -> None:
    """Complete a job in the transaction that writes its result, so that the result is written exactly once.

    Raises:
        LeaseLost: another worker holds the job; the caller's transaction must roll back.
    """
    if lease.job_id not in complete_many(session, [lease]):
        raise lost(lease)


def complete_many(session: Session, leases: Collection[Lease]) -> set[UUID]:
    """Complete those of the jobs that are still held, as `complete` does; returns their ids."""
    if not leases:
        return set()
    session.flush()
    connection, job_ids = session.connection(), [lease.job_id for lease in leases]
    if connection.dialect.name == "postgresql":
        session.execute(_IN_ORDER, {"job_ids": job_ids})
    done = _COMPLETE.rows(
        connection,
        job_ids=listed(connection, job_ids),
        tokens=listed(connection, [lease.token for lease in leases]),
        now=driver_value(connection.dialect.name, db_now(session)),
    )
    return {as_uuid(job_id) for (job_id,) in done}


def lost(lease: Lease) -> LeaseLost:
    """The error of a job that could not be completed."""
    return LeaseLost(f"job {lease.job_id}: the lease was lost before the result could be written")


_IN_ORDER: Final = (  # whoever locks several jobs does it in the order of their ids: no two wait for each other
    sa.select(JobRow.id)
    .where(JobRow.id.in_(sa.bindparam("job_ids", expanding=True)))
    .order_by(JobRow.id)
    .with_for_update()
)
_RUNNING: Final = _JOBS.alias()  # not of the class: that would configure all classes at the import
_READY: Final = (
    sa.select(JobRow.id, sa.and_(JobRow.kind == JobKind.ADAPT, JobRow.attempts == 0))
    .where(
        JobRow.state == JobState.QUEUED,
        JobRow.application == sa.bindparam("of_application"),
        JobRow.queue.in_(sa.bindparam("queues", expanding=True)),
        JobRow.run_after <= sa.bindparam("now"),
        ~sa.exists().where(_RUNNING.c.lock_key == JobRow.lock_key, _RUNNING.c.state == JobState.RUNNING),
    )
    .order_by(JobRow.priority, JobRow.run_after, JobRow.id)
    .limit(sa.bindparam("num_wanted"))
    .with_for_update(skip_locked=True)
)


def _completing(dialect: str) -> ReturningUpdate[*tuple[Any, ...]]:
    return (
        sa.update(_JOBS)
        .where(
            _JOBS.c.id.in_(one_of(dialect, "job_ids", sa.Uuid())),
            _JOBS.c.lease_token.in_(one_of(dialect, "tokens", sa.Uuid())),  # each is of one claim of one job
            _JOBS.c.state == JobState.RUNNING,
        )
        .values(
            state=JobState.SUCCEEDED,
            finished_at=sa.bindparam("now", type_=_JOBS.c.finished_at.type),
            lease_token=None,
            lease_expires_at=None,
            last_error=None,
            progress_done=_JOBS.c.progress_total,
        )
        .returning(_JOBS.c.id)
    )


_COMPLETE: Final = Prepared(_completing)


def fail(session: Session, lease: Lease, error: str, *, retryable: bool, retry: RetryPolicy) -> JobState | None:
    """Return a job after a failure: to the queue with back-off, or dead. Its user stays locked until the commit.

    Returns:
        The job's new state; None: the lease was lost, and nothing was written.
    """
    _lock_users_of(session, [lease.user_id])
    if not retryable or lease.attempt >= lease.max_attempts:
        state = JobState.DEAD
        values: dict[str, Any] = {"finished_at": db_now(session)}
    else:
        state, values = _requeued(session, lease.job_id, lease.lock_key, retry.delay(lease.attempt))
    held = _update_held(
        session, lease, state=state, last_error=error[:2000], lease_token=None, lease_expires_at=None, **values
    )
    return state if held else None


def release(session: Session, lease: Lease, note: str, delay_s: float = 0.0) -> None:
    """Return an unfinished job to the queue without counting the attempt: its inputs changed or are not ready.

    Its user stays locked until the commit.
    """
    _lock_users_of(session, [lease.user_id])
    state, values = _requeued(session, lease.job_id, lease.lock_key, timedelta(seconds=delay_s))
    _update_held(
        session,
        lease,
        state=state,
        attempts=JobRow.attempts - 1,
        last_error=note,
        lease_token=None,
        lease_expires_at=None,
        **values,
    )


def _lock_users_of(session: Session, user_ids: Collection[UUID | None]) -> None:
    """Lock the users of jobs before these return to the queue, see `paaplus.db.locks`.

    A job that returns waits for whoever enqueues another one for its user. An erasure has the user, and waits for the
    job.
    """
    if known := [user_id for user_id in user_ids if user_id is not None]:
        lock_columns(session, known)


def _requeued(session: Session, job_id: UUID, lock_key: str, delay: timedelta) -> tuple[JobState, dict[str, Any]]:
    """State and columns of a job that returns to the queue. If another of its lock key is queued, it is cancelled."""
    now = db_now(session)
    successor = session.execute(
        sa.select(JobRow.id).where(JobRow.lock_key == lock_key, JobRow.state == JobState.QUEUED, JobRow.id != job_id)
    ).first()
    if successor is not None:
        return JobState.CANCELLED, {"finished_at": now}
    return JobState.QUEUED, {"run_after": now + delay}


def forgive_clock(session: Session, lease_s: float) -> None:
    """After the clock was set back: make jobs ready, and leases end, that would wait for the old time to come again.

    Jobs that other transactions have locked are left to the next call.
    """
    now, lease = db_now(session), timedelta(seconds=lease_s)
    moments = {"now": now, "latest": now + CLOCK_SLACK, "ends": now + lease, "latest_end": now + lease + CLOCK_SLACK}
    connection = session.connection()
    given = {name: driver_value(connection.dialect.name, moment) for name, moment in moments.items()}
    _FORGIVE_START.rows(connection, now=given["now"], latest=given["latest"])
    _FORGIVE_LEASE.rows(connection, ends=given["ends"], latest_end=given["latest_end"])


def _unlocked(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Jobs that meet the conditions and that no other transaction has locked."""
    return _JOBS.c.id.in_(sa.select(JobRow.id).where(*conditions).with_for_update(skip_locked=True))


_FORGIVE_START: Final = Prepared(
    lambda _: (
        sa.update(_JOBS)
        .where(
            _unlocked(
                JobRow.state == JobState.QUEUED,
                JobRow.created_at > sa.bindparam("latest"),
                JobRow.run_after > sa.bindparam("now"),
            )
        )
        .values(run_after=sa.bindparam("now"))
    )
)
_FORGIVE_LEASE: Final = Prepared(
    lambda _: (
        sa.update(_JOBS)
        .where(_unlocked(JobRow.state == JobState.RUNNING, JobRow.lease_expires_at > sa.bindparam("latest_end")))
        .values(lease_expires_at=sa.bindparam("ends"))
    )
)


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that was given up."""

    job_id: UUID
    kind: JobKind
    user_id: UUID | None


@dataclass(frozen=True, slots=True)
class ReapReport:
    """Number of jobs whose lease had expired, and those of them that were given up."""

    num_reaped: int
    dead: list[DeadJob]


def reap(session: Session, retry: RetryPolicy) -> ReapReport:
    """Requeue, or give up, every running job whose lease has expired. Their users stay locked until the commit."""
    now, connection = db_now(session), session.connection()
    expired = _EXPIRED.rows(connection, now=driver_value(connection.dialect.name, now))
    if not expired:
        return ReapReport(0, [])
    _lock_users_of(session, [as_uuid(user_id) if user_id is not None else None for _, user_id in expired])
    held = {"job_ids": [as_uuid(job_id) for job_id, _ in expired], "now": now}
    rows = session.execute(_STILL_EXPIRED, held, execution_options={"populate_existing": True})
    num_reaped, dead = 0, []
    for job in rows.scalars().all():
        if job.attempts >= job.max_attempts:
            state, values = JobState.DEAD, {"finished_at": now}
        else:
            state, values = _requeued(session, job.id, job.lock_key, retry.delay(job.attempts))
        with (
            suppress(IntegrityError),
            session.begin_nested(),
        ):  # another job was queued: the next scan retries
            session.execute(
                sa.update(JobRow)
                .where(JobRow.id == job.id)
                .values(
                    state=state,
                    lease_token=None,
                    lease_expires_at=None,
                    last_error=f"worker {job.worker} went silent in attempt {job.attempts}",
                    **values,
                )
            )
            num_reaped += 1
            if state == JobState.DEAD:
                dead.append(DeadJob(job.id, job.kind, job.user_id))
    return ReapReport(num_reaped, dead)


_EXPIRED: Final = Prepared(
    lambda _: sa.select(JobRow.id, JobRow.user_id).where(
        JobRow.state == JobState.RUNNING, JobRow.lease_expires_at < sa.bindparam("now")
    )
)
_STILL_EXPIRED: Final = (  # when their users are locked; whoever has locked one of them ends it
    sa.select(JobRow)
    .where(
        JobRow.id.in_(sa.bindparam("job_ids", expanding=True)),
        JobRow.state == JobState.RUNNING,
        JobRow.lease_expires_at < sa.bindparam("now"),
    )
    .order_by(JobRow.id)
    .with_for_update(skip_locked=True)
)


def count_ready(session: Session) -> dict[str, int]:
    """Numbers of ready jobs, by queue."""
    now, connection = db_now(session), session.connection()
    rows = _NUM_READY.rows(connection, now=driver_value(connection.dialect.name, now))
    return {queue: int(count) for queue, count in rows}


_NUM_READY: Final = Prepared(
    lambda _: (
        sa.select(JobRow.queue, sa.func.count())
        .where(JobRow.state == JobState.QUEUED, JobRow.run_after <= sa.bindparam("now"))
        .group_by(JobRow.queue)
    )
)


def get(session: Session, job_id: UUID) -> JobRow:
    """One job.

    Raises:
        NotFound: no such job.
    """
    job = session.get(JobRow, job_id)
    if job is None:
        raise NotFound(f"job {job_id} does not exist")
    return job


def list_jobs(
    session: Session,
    *,
    user_id: UUID | None = None,
    application: str | None = None,
    state: JobState | None = None,
    limit: int = 100,
    before: UUID | None = None,
) -> list[JobRow]:
    """Jobs, newest first. With `application`, only jobs about its users."""
    query = sa.select(JobRow).order_by(JobRow.id.desc()).limit(limit)
    if user_id is not None:
        query = query.where(JobRow.user_id == user_id)
    if application is not None:
        query = query.join(UserRow, UserRow.id == JobRow.user_id).where(UserRow.application == application)
    if state is not None:
        query = query.where(JobRow.state == state)
    if before is not None:
        query = query.where(JobRow.id < before)
    return list(session.execute(query).scalars())
