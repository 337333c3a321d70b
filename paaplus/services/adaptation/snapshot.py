"""The snapshot of a training: everything it reads, from one moment of the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session

from paaplus.configs import Policy
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, UserRow
from paaplus.db.users import existing_user
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services.adaptation import drift, starting_point
from paaplus.services.adaptation.projections import Projections
from paaplus.services.adaptation.starting_point import StartingPoint
from paaplus.services.adapters import versions
from paaplus.services.feedback import feedback_log
from paaplus.services.feedback.feedback_log import FeedbackLog
from paaplus.services.images import images
from paaplus.services.images.features import delete_damaged
from paaplus.services.predictions.serving import ProjectedImage
from paaplus.services.registry import base_models
from paaplus.services.surveys import preferences
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

POOL_SIZE = 256


@dataclass(frozen=True)
class Snapshot:
    """Everything one training reads, from one moment.

    `reference` is the version that the training continues from: going back from the active version, the first that
    is untainted. None: there is none for this base model and preference; the training starts from the base model.
    """

    user: UserRow
    policy: Policy  # with the shorter half-life of a user who drifts
    base_model_id: UUID
    base: BaseScorer
    starting_point: StartingPoint
    active: AdapterRow | None
    reference: AdapterRow | None
    drifted_since: int | None  # sequence of the last event before the drift; None: no drift was found
    log: FeedbackLog
    images: dict[UUID, ProjectedImage]  # rated and compared ones, projected with the user's preference
    num_missing_features: int
    pool_PR: np.ndarray  # some images that the user may see, in taste space
    preference: list[float] | None = None  # generic scores are computed with it; None: without one
    preference_version: int | None = None

    @property
    def user_id(self) -> UUID:
        return self.user.id

    @property
    def epoch(self) -> int:
        return self.user.epoch

    def with_quarantine(self, database: Database, sequences: Collection[int]) -> Snapshot:
        """The snapshot as it will be when these events, and no others, are in quarantine."""
        log = self.log.with_quarantine(sequences, self.epoch + 1)
        with database.read_session() as session:
            active = versions.active(session, self.user_id)
            reference = _reference(session, active, self.base_model_id, self.preference, log)
        return replace(
            self,
            policy=drift.training_policy(self.user, log.invalid()),
            reference=reference,
            drifted_since=drift.drifted_since(self.user, log.invalid()),
            log=log,
        )


def read_snapshot(
    database: Database,
    blobs: BlobStore,
    user_id: UUID,
    settings: Settings,
    projections: Projections | None = None,
) -> Snapshot:
    """Read what a training needs, in one read transaction.

    If images of the log have no features yet, or damaged ones, enqueues a features job; `num_missing_features` counts
    these images.

    Args:
        projections: projected images of this process; None: nothing is kept after this call.

    Raises:
        NotFound: the user was erased.
        Unavailable: there is no base model.
    """
    known = projections if projections is not None else Projections(0)
    with database.read_session() as session:
        user = existing_user(session, user_id)
        base_row = base_models.default(session, settings)
        log = feedback_log.read(session, user, settings.holdout_key.get_secret_value())
        image_ids = log.image_ids()
        starting_rows = starting_point.read(session, user_id, base_row)
        own = preferences.preference_of(session, user_id)
        base = base_models.load(blobs, base_row)
        preference = preferences.effective(base, own[0]) if own is not None else None
        read = known.read(session, base, preference, image_ids)
        pool_PR = known.pool(session, user, base, preference, POOL_SIZE)
        active = versions.active(session, user_id)
        reference = _reference(session, active, base_row.id, preference, log)
    if read.num_missing:
        with database.session() as session:
            if read.damaged:
                delete_damaged(session, base_row.extractor_digest, read.damaged)
            images.request_features(session, image_ids, settings)
    policy = drift.training_policy(user, log.invalid())
    return Snapshot(
        user=user,
        policy=policy,
        base_model_id=base_row.id,
        base=base,
        starting_point=starting_point.load(blobs, base, starting_rows, policy),
        active=active,
        reference=reference,
        drifted_since=drift.drifted_since(user, log.invalid()),
        log=log,
        images=read.images,
        num_missing_features=read.num_missing,
        pool_PR=pool_PR,
        preference=preference,
        preference_version=own[1] if own is not None and preference is not None else None,
    )


def _reference(
    session: Session, active: AdapterRow | None, base_model_id: UUID, preference: list[float] | None, log: FeedbackLog
) -> AdapterRow | None:
    """See `Snapshot`. The lineage may be long, so only the bytes of the version that is found are read."""
    row = active
    while row is not None and (row.base_model_id, row.preference) == (base_model_id, preference):
        if not log.is_tainted(feedback_log.trained_up_to(row)):
            session.refresh(row, ["data", "learner_state"])
            return row
        row = session.get(AdapterRow, row.parent_id) if row.parent_id is not None else None
    return None  # an adapter for another base model, or for other generic scores, cannot be continued
