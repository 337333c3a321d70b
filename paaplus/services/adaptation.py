"""The database side of one training: the snapshot it reads, and the one transaction that it ends with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.configs import Policy
from paaplus.db.engine import Database
from paaplus.db.locks import lock_user
from paaplus.db.tables import AdapterRow, FeaturesRow, ImageRow, RunRow, UserRow
from paaplus.db.tables.jobs import RunOutcome
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.db.users import existing_user
from paaplus.errors import LeaseLost
from paaplus.ids import new_id, sha256_hex
from paaplus.queue import jobs
from paaplus.queue.jobs import Lease
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.base import BaseScorer
from paaplus.services import adapters, base_models, drift, feedback_log, images, preferences, scheduling, starts
from paaplus.services.feedback_log import FeedbackLog
from paaplus.services.starts import Start
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

POOL_SIZE = 256
GATE = "gate"


@dataclass(frozen=True)
class Snapshot:
    """Everything one training reads, from one moment.

    `reference` is the version to go on from: the nearest one, from the active one back, that was made for this base
    model and preference and has learned nothing that was taken back since; None: the base.
    """

    user_id: UUID
    epoch: int
    policy: Policy
    base_model_id: UUID
    base: BaseScorer
    start: Start  # the prior that new trainings start from
    active: AdapterRow | None
    reference: AdapterRow | None
    drifted_since: int  # earlier feedback was given with another taste; 0: no drift was found
    log: FeedbackLog
    features: dict[UUID, np.ndarray]  # of rated images, float16 [D]
    num_missing_features: int
    pool: list[np.ndarray]  # of some images that the user may see
    preference: list[float] | None = None  # the user's, if generic scores are computed with it; None: nobody's
    preference_version: int | None = None

    def project(self, features_ND: np.ndarray) -> np.ndarray:
        """Features in taste space, as this user's generic score sees them."""
        return self.base.project(features_ND, self.preference)


@dataclass(frozen=True)
class Candidate:
    """A trained version with the gate's word on it, before it has a number."""

    adapter: Adapter
    taste_prior_id: UUID | None  # what it was learned from, if not the base model's own prior
    match_id: UUID | None
    learner_state: bytes
    parent_id: UUID | None
    num_ratings: int
    gate_report: dict[str, Any]
    gate_reason: str
    promote: bool
    preference: list[float] | None = None  # that its generic scores were computed with; None: nobody's


@dataclass(frozen=True)
class RunResult:
    """What one training did, and what its commit may rely on: the lease and the user's epoch at the start."""

    job: Lease
    epoch: int
    strategy: str
    config: dict[str, Any]
    seed: int
    from_sequence: int
    to_sequence: int
    num_new: int
    num_held_out: int
    base_model_id: UUID
    device: str
    started_at: datetime
    outcome: RunOutcome
    timings: dict[str, float]
    metrics: dict[str, Any] = field(default_factory=dict)
    candidate: Candidate | None = None
    is_tainted: bool = False  # the live version has learned what was taken back since


def read_snapshot(database: Database, blobs: BlobStore, user_id: UUID, settings: Settings) -> Snapshot:
    """Read what a training needs, in one read transaction.

    If features of rated images are missing, asks for them (a features job) and says how many.

    Raises:
        NotFound: the user is gone.
        Unavailable: there is no base model.
    """
    with database.read_session() as session:
        user = existing_user(session, user_id)
        base_row = base_models.default(session, settings)
        log = feedback_log.read(session, user, settings.holdout_key.get_secret_value())
        image_ids = log.image_ids()
        features, num_missing = _features(session, base_row.extractor_digest, image_ids)
        pool = _pool(session, user, base_row.extractor_digest)
        start_rows = starts.read(session, user_id, base_row)
        own = preferences.preference_of(session, user_id)
        base = base_models.load(blobs, base_row)
        preference = preferences.effective(base, own[0]) if own is not None else None
        active = adapters.active(session, user_id)
        reference = _reference(session, active, base_row.id, preference, log)
    if num_missing:
        with database.session() as session:
            images.request_features(session, image_ids, settings)
    policy = drift.training_policy(user)
    return Snapshot(
        user_id=user_id,
        epoch=user.epoch,
        policy=policy,
        base_model_id=base_row.id,
        base=base,
        start=starts.load(blobs, base, start_rows, policy),
        active=active,
        reference=reference,
        drifted_since=drift.drifted_since(user),
        log=log,
        features=features,
        num_missing_features=num_missing,
        pool=pool,
        preference=preference,
        preference_version=own[1] if own is not None and preference is not None else None,
    )


def _features(session: Session, extractor: str, image_ids: set[UUID]) -> tuple[dict[UUID, np.ndarray], int]:
    """Features that are there, and the number of images still to be extracted (failed ones never will be)."""
    rows = session.execute(
        sa.select(FeaturesRow.image_id, FeaturesRow.data).where(
            FeaturesRow.extractor_digest == extractor, FeaturesRow.image_id.in_(image_ids)
        )
    ).all()
    features = {image_id: np.frombuffer(data, np.float16) for image_id, data in rows if data is not None}
    usable = {image_id: features_D for image_id, features_D in features.items() if np.isfinite(features_D).all()}
    return usable, len(image_ids) - len(rows)


def _reference(
    session: Session, active: AdapterRow | None, base_model_id: UUID, preference: list[float] | None, log: FeedbackLog
) -> AdapterRow | None:
    """See `Snapshot`. The chain may be long: only the bytes of the version that is found are read."""
    row = active
    while row is not None and (row.base_model_id, row.preference) == (base_model_id, preference):
        if not log.is_tainted(feedback_log.seen_by(row)):
            session.refresh(row, ["data", "learner_state"])
            return row
        row = session.get(AdapterRow, row.parent_id) if row.parent_id is not None else None
    return None  # what was made for another base model, or other generic scores, means nothing here


def _pool(session: Session, user: UserRow, extractor: str) -> list[np.ndarray]:
    rows = session.execute(
        sa.select(FeaturesRow.data)
        .join(ImageRow, ImageRow.id == FeaturesRow.image_id)
        .where(
            FeaturesRow.extractor_digest == extractor,
            FeaturesRow.data.is_not(None),
            ImageRow.application == user.application,
            sa.or_(ImageRow.owner_id.is_(None), ImageRow.owner_id == user.id),
        )
        .order_by(ImageRow.sha256)
        .limit(POOL_SIZE)
    ).scalars()
    pool = [np.frombuffer(data, np.float16) for data in rows if data is not None]
    return [features_D for features_D in pool if np.isfinite(features_D).all()]


def commit(database: Database, user_id: UUID, result: RunResult) -> AdapterRow | None:
    """Write run, version, pointer, history, schedule and the job's end: all of it, or nothing.

    Raises:
        LeaseLost: the job is another worker's now, or the user changed (rollback, pin, release) while it ran.
    """
    with database.session() as session:
        user = lock_user(session, user_id)
        if user is None:
            raise LeaseLost(f"user {user_id} was erased while being trained")
        if user.epoch != result.epoch:
            raise LeaseLost(f"user {user_id} changed while being trained (epoch {result.epoch} is {user.epoch} now)")
        jobs.complete(session, result.job)
        run = _write_run(session, user, result)
        version = _write_version(session, user, run, result) if result.candidate else None
        user.trained_sequence = max(user.trained_sequence, result.to_sequence)
        user.last_trained_at = utcnow()
        scheduling.refresh_due(session, user)
        session.flush()
        faults.point("training_uncommitted")
    faults.point("training_committed")
    return version


def _write_run(session: Session, user: UserRow, result: RunResult) -> RunRow:
    pinned_candidate = result.outcome == RunOutcome.PROMOTED and user.pinned
    run = RunRow(
        id=new_id(),
        job_id=result.job.job_id,
        user_id=user.id,
        base_model_id=result.base_model_id,
        strategy=result.strategy,
        config=result.config,
        seed=result.seed,
        from_sequence=result.from_sequence,
        to_sequence=result.to_sequence,
        num_new=result.num_new,
        num_held_out=result.num_held_out,
        device=result.device,
        outcome=RunOutcome.KEPT if pinned_candidate else result.outcome,
        metrics=result.metrics,
        timings=result.timings,
        started_at=result.started_at,
        finished_at=utcnow(),
    )
    session.add(run)
    session.flush()
    return run


def skip(database: Database, user_id: UUID, job: Lease) -> None:
    """End a paused user's job without a training; what waits, waits on, a new start too.

    Raises:
        LeaseLost: the job is another worker's now.
    """
    with database.session() as session:
        user = lock_user(session, user_id)
        jobs.complete(session, job)
        if user is not None and job.reason in scheduling.NEW_START_REASONS:
            scheduling.due_for(session, user, DueReason(job.reason))


def _write_version(session: Session, user: UserRow, run: RunRow, result: RunResult) -> AdapterRow:
    candidate = result.candidate
    assert candidate is not None, "a version without a candidate"
    data = candidate.adapter.to_bytes()
    current = adapters.active(session, user.id)
    goes_live = candidate.promote and not user.pinned
    if goes_live and current is not None:
        current.state = AdapterState.RETIRED
        session.flush()
    faults.point("old_version_retired")
    user.adapter_sequence += 1
    version = AdapterRow(
        id=new_id(),
        user_id=user.id,
        number=user.adapter_sequence,
        parent_id=candidate.parent_id,
        base_model_id=run.base_model_id,
        taste_prior_id=candidate.taste_prior_id,
        match_id=candidate.match_id,
        run_id=run.id,
        kind=candidate.adapter.kind,
        strategy=run.strategy,
        digest=sha256_hex(data),
        state=AdapterState.ACTIVE if goes_live else _kept_state(candidate),
        high_water_sequence=run.to_sequence,
        epoch=result.epoch,
        num_ratings=candidate.num_ratings,
        size_bytes=len(data),
        gate_report=candidate.gate_report,
        metrics=run.metrics,
        preference=candidate.preference,
        data=data,
        learner_state=candidate.learner_state,
        created_at=utcnow(),
    )
    session.add(version)
    session.flush()
    faults.point("version_written")
    reason = f"pinned: {candidate.gate_reason}" if candidate.promote and user.pinned else candidate.gate_reason
    adapters.write_history(
        session,
        user.id,
        PointerMove.GATE_PROMOTED if goes_live else PointerMove.GATE_REFUSED,
        current,
        version,
        actor=GATE,
        reason=reason,
        details={"run": str(run.id)},
    )
    if result.is_tainted and not goes_live and not user.pinned:
        _retire_tainted(session, user, current, candidate.parent_id)
    return version


def _retire_tainted(session: Session, user: UserRow, current: AdapterRow | None, untainted_id: UUID | None) -> None:
    """A version that has learned what was taken back is not served on because nothing better came of it."""
    untainted = session.get(AdapterRow, untainted_id) if untainted_id else None
    adapters.point(session, current, untainted)
    adapters.write_history(
        session,
        user.id,
        PointerMove.ROLLED_BACK,
        current,
        untainted,
        actor=GATE,
        reason="the live version had learned what was taken back since, and its successor was refused",
        details={},
    )


def _kept_state(candidate: Candidate) -> AdapterState:
    return AdapterState.CANDIDATE if candidate.promote else AdapterState.REJECTED
