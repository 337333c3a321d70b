"""What the trainings of a claim read: the users' snapshots, together where that works, and alone where it does not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog

from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.errors import PaaplusError, TrainingStopped, Unavailable
from paaplus.pipelines.context import NotReady, Running, WorkerContext
from paaplus.services.adaptation import commit, drift
from paaplus.services.adaptation.snapshot import Snapshot, read_snapshot, read_snapshots
from paaplus.services.users import budget

log = structlog.get_logger(__name__)

FEATURES_WAIT_S = 2.0


@dataclass(frozen=True)
class Read:
    """What was read of a user among others; None: nothing yet. `read_s`: this user's share of the time."""

    snapshot: Snapshot | PaaplusError | None
    read_s: float


def read_together(runnings: Sequence[Running]) -> Iterator[tuple[Running, Read]]:
    """Each job with its user's snapshot: read in statements for all users, as the look at all of them for drift.

    If that raises, each is read alone in its turn, so that only the faulty one fails.
    """
    context = runnings[0].context
    user_ids = [running.lease.user_id for running in runnings if running.lease.user_id is not None]
    clock, snapshots = time.perf_counter(), {}
    if len(user_ids) > 1 and not context.stopping.is_set():
        try:
            found = read_snapshots(
                context.database, context.blobs, user_ids, context.settings, context.projections, context.logs
            )
            snapshots = _without_drift(context, dict(zip(user_ids, found, strict=True)))
        except Exception as error:
            log.warning("reading together failed: each is read alone", num_users=len(user_ids), error=repr(error))
    read_s = (time.perf_counter() - clock) / len(runnings)
    for running in runnings:
        snapshot = snapshots.pop(running.lease.user_id, None) if running.lease.user_id is not None else None
        yield running, Read(snapshot, read_s)


def _without_drift(
    context: WorkerContext, snapshots: dict[UUID, Snapshot | PaaplusError]
) -> dict[UUID, Snapshot | PaaplusError]:
    """The snapshots after a look at their new answers for drift, without those of users who drift."""
    read = {user_id: each for user_id, each in snapshots.items() if isinstance(each, Snapshot)}
    logs = {user_id: (each.watched_up_to, each.log) for user_id, each in read.items()}
    checked = drift.watch_logs(context.database, context.serving, logs)
    watched = {
        user_id: replace(read[user_id], watched_up_to=up_to)
        for user_id, (up_to, drifts) in checked.items()
        if not drifts
    }
    drifting = {user_id for user_id, (_, drifts) in checked.items() if drifts}
    return {user_id: watched.get(user_id, each) for user_id, each in snapshots.items() if user_id not in drifting}


def _watched(context: WorkerContext, user_id: UUID, read: Snapshot | PaaplusError | None) -> Snapshot:
    """The snapshot, all of whose ratings were compared with the score that was served before this training.

    If that finds a drift, the snapshot is read again: the drift decides how fast the training forgets.

    Args:
        read: the snapshot, if it has been read already.
    """
    if isinstance(read, PaaplusError):
        raise read
    while True:
        snapshot = read or read_snapshot(
            context.database, context.blobs, user_id, context.settings, context.projections, context.logs
        )
        if snapshot.watched_up_to >= snapshot.log.head:
            return snapshot
        read = None
        try:
            drifts = drift.watch_log(context.database, context.serving, user_id, snapshot.watched_up_to, snapshot.log)
        except Unavailable as error:  # a training replaces a damaged version, whose scores nobody can compare
            log.warning("ratings not checked for drift", user_id=str(user_id), error=str(error))
            return snapshot
        if not drifts:
            return snapshot


@dataclass(frozen=True)
class Opened:
    """A job whose user's snapshot may be trained on. `read_s`: this user's share of the time of reading."""

    running: Running
    snapshot: Snapshot
    started_at: datetime
    read_s: float


def open_snapshot(running: Running, read: Read) -> Opened | str:
    """The snapshot of a job's user. If a pause lasts, end the job and return its line for the log.

    Raises:
        InvalidInput: the policy asks for more work than a training may be.
        NotReady: features of rated images are still being extracted.
        TrainingStopped: the worker stops.
    """
    context, lease = running.context, running.lease
    assert lease.user_id is not None, "an adaptation job without a user"
    if context.stopping.is_set():
        raise TrainingStopped("the worker stops before this user's turn")
    started_at, clock = utcnow(), time.perf_counter() - read.read_s
    snapshot = _watched(context, lease.user_id, read.snapshot)
    if snapshot.num_missing_features:
        raise NotReady(f"features of {snapshot.num_missing_features} rated image(s) are pending", FEATURES_WAIT_S)
    budget.check(snapshot.policy, context.settings)
    if snapshot.policy.paused and not is_by_hand(running):
        commit.skip(context.database, lease.user_id, lease)
        return "paused"
    return Opened(running, snapshot, started_at, time.perf_counter() - clock)


def is_by_hand(running: Running) -> bool:
    """Whether a person asked for the training."""
    return running.lease.reason == DueReason.BY_HAND
