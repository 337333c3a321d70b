"""Detect drift: compare each new answer with the served score. A drifting user is trained early and forgets faster.

Ratings have one test. Comparisons and likes have another of the same kind (`contradictions`), because they err by less
where nothing drifts. Either can raise the alarm; then the other starts again.

The scheduler does this at the start of a scan, before it enqueues due users, and a training does it for its own user
after it has read the log. So accepting feedback stays fast, and every rating is compared with the score that was served
before a training learned it. An answer about an image without features waits for them, as trainings do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, cast
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus.configs import Policy
from paaplus.db import due_times
from paaplus.db.clock import db_now
from paaplus.db.due_times import Due
from paaplus.db.engine import Database
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of, plain
from paaplus.db.raw_values import document_of, raw, uuid_of
from paaplus.db.row_sets import encoded, row_set
from paaplus.db.tables import AdapterRow, FeedbackRow, UserRow
from paaplus.db.tables.events import EventKind
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.models import AdapterState
from paaplus.db.tables.users import DueReason
from paaplus.errors import NotFound, Unavailable
from paaplus.scoring.drift import DriftState
from paaplus.scoring.rows import stacked_rows
from paaplus.services import events, scheduling
from paaplus.services.adaptation import contradictions
from paaplus.services.feedback.feedback_log import FeedbackLog, scores_of
from paaplus.services.predictions.serving import Serving
from paaplus.services.predictions.serving_store import ServingStore

WATCH_BATCH = 200

log = structlog.get_logger(__name__)

Unchecked = dict[UUID, tuple[int, int]]  # by user: the last event that was checked, and the last event of the log
Errors = list[tuple[int, float]]  # sequence, error in score points
_ANSWERS = "answers"  # in `UserRow.drift`: the state of the test on comparisons and likes
Rating = tuple[int, UUID, dict[str, float]]  # sequence, image, scores by aspect


def watch(database: Database, store: ServingStore, batch: int = WATCH_BATCH) -> int:
    """Check all new answers for drift, `batch` users at a time; returns the number of users who drift.

    Every answer is compared once with what was served before a training learned it: here, or by that training. An
    answer about an image without features waits for them, and so do the user's answers after it; trainings wait too.
    Passed over are images that cannot be scored, and what the active version was trained on. Several schedulers may run
    at once. Without a base model nothing is checked.
    """
    num_drifting, last_id = 0, UUID(int=0)
    while True:
        with database.read_connection() as connection:
            unchecked = _unchecked(connection, batch, last_id)
        if not unchecked:
            return num_drifting
        num_drifting += _watch_batch(database, store, unchecked)
        last_id = max(unchecked)


def watch_log(database: Database, store: ServingStore, user_id: UUID, last: int, log: FeedbackLog) -> bool:
    """Check the events of one user's log after sequence `last`; returns whether the user drifts.

    Raises:
        NotFound: the user was erased meanwhile.
        Unavailable: there is no base model, or the active version is damaged.
    """
    return any(_check_logs(database, store, {user_id: (last, log)}).values())


def watch_logs(
    database: Database, store: ServingStore, logs: Mapping[UUID, tuple[int, FeedbackLog]]
) -> dict[UUID, tuple[int, bool]]:
    """Check the events of users' logs after a sequence together.

    Returns:
        By user, the last event that was checked, and whether the user drifts. Who cannot be checked, because a version
        is damaged or the user was erased, is left out, and who is checked by somebody else at this moment.
    """
    try:
        return _check_logs(database, store, logs)
    except (NotFound, Unavailable):
        return {}


def _watch_batch(database: Database, store: ServingStore, unchecked: Unchecked) -> int:
    try:
        return _check(database, store, unchecked)
    except (NotFound, Unavailable):  # no base model, or one user was erased meanwhile or has a damaged version
        return _check_one_by_one(database, store, unchecked)


def _check_one_by_one(database: Database, store: ServingStore, unchecked: Unchecked) -> int:
    """Check each user alone, so that a user who cannot be checked does not keep the others waiting."""
    num_drifting = 0
    try:
        store.load((), ())
    except Unavailable:
        return 0
    for user_id, span in unchecked.items():
        try:
            num_drifting += _check(database, store, {user_id: span})
        except (NotFound, Unavailable) as error:
            log.warning("user not checked for drift", user_id=str(user_id), error=str(error))
    return num_drifting


def _check(database: Database, store: ServingStore, unchecked: Unchecked) -> int:
    with database.read_session() as session:
        ratings, answers = _ratings(session, unchecked), contradictions.read(session, unchecked)
    return sum(drifts for _, drifts in _compare(database, store, unchecked, ratings, answers).values())


def _check_logs(
    database: Database, store: ServingStore, logs: Mapping[UUID, tuple[int, FeedbackLog]]
) -> dict[UUID, tuple[int, bool]]:
    newer = {user_id: (last, log) for user_id, (last, log) in logs.items() if last < log.head}
    if not newer:
        return {}
    unchecked = {user_id: (last, log.head) for user_id, (last, log) in newer.items()}
    ratings = {user_id: _ratings_of(log, last) for user_id, (last, log) in newer.items()}
    answers = {user_id: contradictions.of_log(log, last) for user_id, (last, log) in newer.items()}
    return _compare(database, store, unchecked, ratings, answers)


def _compare(
    database: Database,
    store: ServingStore,
    unchecked: Unchecked,
    ratings: dict[UUID, list[Rating]],
    answers: dict[UUID, list[contradictions.Answer]],
) -> dict[UUID, tuple[int, bool]]:
    """Compare answers with served scores. By user, the last event that is checked now, and whether the user drifts."""
    with database.read_session() as session:
        trained, middles = _trained_sequences(session, unchecked), contradictions.middles(session, unchecked)
        told = _told(session.connection(), unchecked)
    image_ids = {image_id for rated in ratings.values() for _, image_id, _ in rated}
    image_ids |= contradictions.image_ids(answers)
    serving = store.load(list(unchecked), image_ids)
    if not image_ids <= serving.images.keys() | serving.failed.keys():
        unchecked = _until_first_pending(unchecked, ratings, answers, serving)
        ratings = {user_id: [r for r in rated if r[0] <= unchecked[user_id][1]] for user_id, rated in ratings.items()}
        answers = {user_id: [a for a in given if a[0] <= unchecked[user_id][1]] for user_id, given in answers.items()}
    errors = {
        user_id: _errors(serving, user_id, [r for r in rated if r[0] > trained.get(user_id, 0)])
        for user_id, rated in ratings.items()
    }
    contradicted = {
        user_id: contradictions.errors(
            serving, user_id, [a for a in given if a[0] > trained.get(user_id, 0)], middles.get(user_id, {})
        )
        for user_id, given in answers.items()
    }
    found = {
        user_id: _after_errors(told[user_id], *span, errors.get(user_id, []), contradicted.get(user_id, []))
        for user_id, span in unchecked.items()
        if user_id in told and span[0] < span[1]  # otherwise it was erased, or its next answer waits for features
    }
    return _write(database, found) if found else {}


def _until_first_pending(
    unchecked: Unchecked,
    ratings: dict[UUID, list[Rating]],
    answers: dict[UUID, list[contradictions.Answer]],
    serving: Serving,
) -> Unchecked:
    """Each user's span up to the first answer about an image whose features are not there yet."""

    def is_pending(image_ids: Iterable[UUID | None]) -> bool:
        return any(each not in serving.images and each not in serving.failed for each in image_ids if each is not None)

    spans = {}
    for user_id, (last, head) in unchecked.items():
        pending = [r[0] for r in ratings.get(user_id, ()) if is_pending([r[1]])]
        pending += [a[0] for a in answers.get(user_id, ()) if is_pending(a[1:3])]
        spans[user_id] = last, min([head, *(sequence - 1 for sequence in pending)])
    return spans


def training_policy(user: UserRow, invalid: Collection[int] = ()) -> Policy:
    """The user's policy. After a drift the recency half-life is that of the drift policy, if that is shorter.

    Args:
        user: the user.
        invalid: events that count no more, by sequence; a drift that was found in them is none.
    """
    policy = scheduling.policy_of(user)
    own, faster = policy.training.recency_half_life, policy.drift.recency_half_life
    if drifted_since(user, invalid) is None or not faster or 0 < own <= faster:
        return policy
    return replace(policy, training=replace(policy.training, recency_half_life=faster))


def drifted_since(user: UserRow, invalid: Collection[int] = ()) -> int | None:
    """The sequence of the last event before the newest drift; None: none. `invalid` as in `training_policy`."""
    return DriftState.from_dict(user.drift).since_valid(invalid)


def _unchecked(connection: sa.Connection, limit: int, after: UUID) -> Unchecked:
    rows = _UNCHECKED.rows(connection, after=plain(connection, after), limit=limit)
    return {as_uuid(user_id): (last, head) for user_id, last, head in rows}


_UNCHECKED: Final = Prepared(
    lambda _: (
        sa.select(UserRow.id, UserRow.watched_sequence, UserRow.feedback_sequence)
        .where(UserRow.feedback_sequence > UserRow.watched_sequence, UserRow.id > sa.bindparam("after"))
        .order_by(UserRow.id)
        .limit(sa.bindparam("limit"))
    )
)


def _ratings(session: Session, unchecked: Unchecked) -> dict[UUID, list[Rating]]:
    dialect = session.get_bind().dialect.name
    spans = ((user_id, last, head) for user_id, (last, head) in unchecked.items())
    ratings: dict[UUID, list[Rating]] = {}
    rows = session.connection().execute(_rated(dialect), {"spans": encoded(dialect, spans)}).all()
    for user_id, sequence, image_id, payload in rows:
        ratings.setdefault(uuid_of(user_id), []).append((sequence, uuid_of(image_id), scores_of(payload)))
    return ratings


def _ratings_of(log: FeedbackLog, last: int) -> list[Rating]:
    """The ratings of a log that follow an event."""
    first = bisect_right(log.events, last, key=lambda event: event.sequence)
    return [(event.sequence, event.image_id, event.scores) for event in log.events[first:]]


@cache
def _rated(dialect: str) -> sa.Select[Any]:
    """Ratings of users in spans (last sequence before, last sequence), in order of sequence."""
    spans = row_set(dialect, "spans", {"user_id": sa.Uuid(), "last": sa.Integer(), "head": sa.Integer()})
    within = sa.and_(
        FeedbackRow.user_id == spans.c.user_id,
        FeedbackRow.sequence > spans.c.last,
        FeedbackRow.sequence <= spans.c.head,
        FeedbackRow.image_id.is_not(None),  # not deleted
        FeedbackRow.kind.in_((FeedbackKind.RATING, FeedbackKind.CORRECTION)),
    )
    columns = (raw(FeedbackRow.user_id), FeedbackRow.sequence, raw(FeedbackRow.image_id), FeedbackRow.payload)
    return sa.select(*columns).join(spans, within).order_by(FeedbackRow.user_id, FeedbackRow.sequence)


def _trained_sequences(session: Session, user_ids: Unchecked) -> dict[UUID, int]:
    """The sequence that each user's active version was trained up to."""
    rows = session.execute(
        sa.select(AdapterRow.user_id, AdapterRow.high_water_sequence).where(
            AdapterRow.user_id.in_(list(user_ids)), AdapterRow.state == AdapterState.ACTIVE
        )
    )
    return {row.user_id: row.high_water_sequence for row in rows}


def _errors(serving: Serving, user_id: UUID, ratings: list[Rating]) -> list[tuple[int, float]]:
    """Sequence and mean absolute error over aspects of each rating whose image can be scored."""
    adapter, aspects = serving.adapter_of(user_id), serving.scorer.aspects
    known = [(sequence, image_id, scores) for sequence, image_id, scores in ratings if image_id in serving.images]
    known = [each for each in known if not each[2].keys().isdisjoint(aspects)]
    if not known:
        return []
    images = serving.images_of(user_id, [image_id for _, image_id, _ in known])
    score_NA = stacked_rows([image.generic_A for image in images])
    if adapter is not None:
        score_NA = adapter.score(stacked_rows([image.taste_R for image in images]), score_NA)
    errors = []
    for (sequence, _, scores), score_A in zip(known, score_NA.tolist(), strict=True):
        rated = [
            abs(score - scores[aspect]) for aspect, score in zip(aspects, score_A, strict=True) if aspect in scores
        ]
        errors.append((sequence, sum(rated) / len(rated)))
    return errors


@dataclass(frozen=True, slots=True)
class _Checked:
    """What a check found of one user.

    Args:
        last, head: the last events that were checked before, and now.
        drift: see `UserRow.drift`.
        since: the last event before the drift; None: the user does not drift.
    """

    last: int
    head: int
    drift: dict[str, Any]
    since: int | None


def _told(connection: sa.Connection, user_ids: Collection[UUID]) -> dict[UUID, tuple[Policy, dict[str, Any]]]:
    """Users' policies, and the states of their tests."""
    rows = _TOLD.rows(connection, ids=listed(connection, user_ids))
    return {
        as_uuid(user_id): (scheduling.policy_with(document_of(policy)), document_of(drift) or {})
        for user_id, policy, drift in rows
    }


_TOLD: Final = Prepared(
    lambda dialect: sa.select(UserRow.id, UserRow.policy, UserRow.drift).where(
        UserRow.id.in_(one_of(dialect, "ids", sa.Uuid()))
    )
)


def _after_errors(
    told: tuple[Policy, dict[str, Any]], last: int, head: int, errors: Errors, contradicted: Errors
) -> _Checked:
    """The states of both tests after these errors."""
    policy, before = told
    state, by_ratings = _after(DriftState.from_dict(before), errors, policy)
    answers, by_answers = _after(DriftState.from_dict(before.get(_ANSWERS)), contradicted, policy)
    drifts = by_ratings or by_answers
    if by_answers and not by_ratings:
        state = DriftState().with_found((*state.found, *answers.found))
    if drifts:
        answers = DriftState()
    drift = {**state.to_dict(), _ANSWERS: answers.to_dict()}
    return _Checked(last, head, drift, state.since if drifts else None)


def _write(database: Database, found: Mapping[UUID, _Checked]) -> dict[UUID, tuple[int, bool]]:
    """Write what was found, but for users whom another scheduler has checked meanwhile, or who were erased.

    It was worked out before: while this holds SQLite's write lock, no feedback is accepted. Only here are states of
    tests written, so they are those that were read if the last event that was checked is.

    Returns:
        By user, the last event that is checked now, and whether the user drifts.
    """
    with database.session() as session:
        connection = session.connection()
        locked = [(as_uuid(row[0]), *row[1:]) for row in _LOCK.rows(connection, ids=listed(connection, found))]
        kept = {row[0]: row[2:] for row in locked if row[1] == found[row[0]].last}
        if not kept:
            return {}
        rows = [(user_id, found[user_id].head, found[user_id].drift) for user_id in kept]
        _UPDATE.rows(connection, users=encoded(connection.dialect.name, rows))
        drifting = [user_id for user_id in kept if found[user_id].since is not None]
        now = db_now(session) if drifting else None
        for user_id in drifting:
            policy, pending_count = kept[user_id]
            if pending_count and not scheduling.policy_with(document_of(policy)).paused:
                due_times.write(session, {user_id: Due(now, DueReason.DRIFT)})
            events.write(session, EventKind.DRIFT_FOUND, user_id, {"since_sequence": found[user_id].since})
        return {user_id: (found[user_id].head, found[user_id].since is not None) for user_id in kept}


_LOCK: Final = Prepared(
    lambda dialect: (
        sa.select(UserRow.id, UserRow.watched_sequence, UserRow.policy, UserRow.pending_count)
        .where(UserRow.id.in_(one_of(dialect, "ids", sa.Uuid())))
        .order_by(UserRow.id)
        .with_for_update(key_share=True)
    )
)


def _update(dialect: str) -> sa.Update:
    table = cast(sa.Table, UserRow.__table__)
    rows = row_set(dialect, "users", {name: table.c[name].type for name in ("id", "watched_sequence", "drift")})
    changed = {name: rows.c[name] for name in ("watched_sequence", "drift")}
    return sa.update(table).where(table.c.id == rows.c.id).values(changed)


_UPDATE: Final = Prepared(_update)


def _after(state: DriftState, errors: Errors, policy: Policy) -> tuple[DriftState, bool]:
    """The state after these errors, and whether any of them raised the alarm."""
    return state.after_all(errors, policy.drift)
