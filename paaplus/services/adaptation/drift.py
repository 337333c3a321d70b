"""Watch how well served scores predict what users say next; who drifts is trained early, and forgets faster.

Done by the scheduler just before it looks for who is due, not where feedback is accepted: accepting stays as fast as
it is, and no rating that comes one by one is learned from before it was held against what was served. One that comes
together with enough others to train at once is looked at in the same scan, before the job is made.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus.configs import Policy
from paaplus.db.clock import db_now
from paaplus.db.engine import Database
from paaplus.db.locks import lock_user
from paaplus.db.tables import AdapterRow, FeedbackRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.models import AdapterState
from paaplus.db.tables.users import DueReason
from paaplus.errors import NotFound, Unavailable
from paaplus.records import Scale
from paaplus.scoring.drift import DriftState
from paaplus.services import scheduling
from paaplus.services.predictions.serving import Serving
from paaplus.services.predictions.serving_store import ServingStore

WATCH_BATCH = 200

log = structlog.get_logger(__name__)

Watched = dict[UUID, tuple[int, int]]  # by user: the log up to here has been watched, and its end
Rating = tuple[int, UUID, dict[str, float]]  # sequence, image, scores by aspect


def watch(database: Database, store: ServingStore, limit: int = WATCH_BATCH) -> int:
    """Hold new ratings of some users against what they are served; returns how many were found to drift.

    A rating whose image has no features yet, or that the live version has learned already, says nothing and is passed
    over. Two schedulers share the work. Without a base model, nothing is watched.
    """
    with database.read_session() as session:
        watched = _unwatched(session, limit)
    try:
        return _watch(database, store, watched)
    except (NotFound, Unavailable):  # nothing is served; or one of them was erased meanwhile, or has a damaged version
        return _watch_one_by_one(database, store, watched)


def _watch_one_by_one(database: Database, store: ServingStore, watched: Watched) -> int:
    """The same where it does not go together: who stands in the way waits for the next scan, the others do not."""
    num_drifting = 0
    try:
        store.load((), ())
    except Unavailable:
        return 0
    for user_id, span in watched.items():
        try:
            num_drifting += _watch(database, store, {user_id: span})
        except (NotFound, Unavailable) as error:
            log.warning("user not watched for drift", user_id=str(user_id), error=str(error))
    return num_drifting


def _watch(database: Database, store: ServingStore, watched: Watched) -> int:
    with database.read_session() as session:
        ratings = {user_id: _ratings(session, user_id, seen, head) for user_id, (seen, head) in watched.items()}
        learned = _learned(session, watched)
    image_ids = {image_id for rated in ratings.values() for _, image_id, _ in rated}
    serving = store.load(list(watched), image_ids)
    num_drifting = 0
    for user_id, (seen, head) in watched.items():
        fresh = [rating for rating in ratings[user_id] if rating[0] > learned.get(user_id, 0)]
        with database.session() as session:
            num_drifting += _update(session, user_id, seen, head, _errors(serving, user_id, fresh))
    return num_drifting


def training_policy(user: UserRow) -> Policy:
    """The user's policy; who has drifted forgets at the drift's half life, if that is shorter than their own."""
    policy = scheduling.policy_of(user)
    own, faster = policy.training.recency_half_life, policy.drift.recency_half_life
    if DriftState.from_dict(user.drift).since is None or not faster or 0 < own <= faster:
        return policy
    return replace(policy, training=replace(policy.training, recency_half_life=faster))


def drifted_since(user: UserRow) -> int:
    """The last event before the user's taste was found to have moved; 0: it was not."""
    return DriftState.from_dict(user.drift).since or 0


def _unwatched(session: Session, limit: int) -> Watched:
    rows = session.execute(
        sa.select(UserRow.id, UserRow.watched_sequence, UserRow.feedback_sequence)
        .where(UserRow.feedback_sequence > UserRow.watched_sequence)
        .order_by(UserRow.id)
        .limit(limit)
    )
    return {user_id: (seen, head) for user_id, seen, head in rows}


def _ratings(session: Session, user_id: UUID, seen: int, head: int) -> list[Rating]:
    rows = session.execute(
        sa.select(FeedbackRow.sequence, FeedbackRow.image_id, FeedbackRow.payload)
        .where(
            FeedbackRow.user_id == user_id,
            FeedbackRow.sequence > seen,
            FeedbackRow.sequence <= head,
            FeedbackRow.kind.in_((FeedbackKind.RATING, FeedbackKind.CORRECTION)),
        )
        .order_by(FeedbackRow.sequence)
    )
    ratings: list[Rating] = []
    for sequence, image_id, payload in rows:
        scale = Scale(payload["scale"]["min"], payload["scale"]["max"])
        scores = {aspect: scale.to_score(value) for aspect, value in payload["ratings"].items()}
        ratings.append((sequence, image_id, scores))
    return ratings


def _learned(session: Session, user_ids: Watched) -> dict[UUID, int]:
    """How far the live version of each user has learned."""
    rows = session.execute(
        sa.select(AdapterRow.user_id, AdapterRow.high_water_sequence).where(
            AdapterRow.user_id.in_(list(user_ids)), AdapterRow.state == AdapterState.ACTIVE
        )
    )
    return {row.user_id: row.high_water_sequence for row in rows}


def _errors(serving: Serving, user_id: UUID, ratings: list[Rating]) -> list[tuple[int, float]]:
    """Sequence and mean absolute error over aspects of every rating that a score was there for."""
    adapter, aspects = serving.adapter_of(user_id), serving.scorer.aspects
    errors = []
    for sequence, image_id, scores in ratings:
        rated = [(a, scores[aspect]) for a, aspect in enumerate(aspects) if aspect in scores]
        if image_id not in serving.images or not rated:
            continue
        [image] = serving.images_of(user_id, [image_id])
        score_A = image.generic_A
        if adapter is not None:
            score_A = adapter.score(image.taste_R[None], image.generic_A[None])[0]
        errors.append((sequence, float(np.mean([abs(float(score_A[a]) - target) for a, target in rated]))))
    return errors


def _update(session: Session, user_id: UUID, seen: int, head: int, errors: list[tuple[int, float]]) -> bool:
    user = lock_user(session, user_id)
    if user is None or user.watched_sequence != seen:
        return False  # erased, or another scheduler was first
    policy = scheduling.policy_of(user)
    state, drifts = DriftState.from_dict(user.drift), False
    for sequence, error in errors:
        state, alarm = state.after(error, sequence, policy.drift)
        drifts = drifts or alarm
    user.drift, user.watched_sequence = state.to_dict(), head
    if drifts and not policy.paused and scheduling.pending_feedback(session, user_id):
        user.next_due_at, user.due_reason = db_now(session), DueReason.DRIFT
    return drifts
