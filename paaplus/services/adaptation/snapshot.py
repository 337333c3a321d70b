"""The snapshot of a training: everything it reads, from one moment of the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.configs import Policy
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, BaseModelRow, FeaturesRow, ImageRow, UserRow
from paaplus.db.users import existing_user
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services.adaptation import drift, starting_point
from paaplus.services.adaptation.starting_point import StartingPoint
from paaplus.services.adapters import versions
from paaplus.services.feedback import feedback_log
from paaplus.services.feedback.feedback_log import FeedbackLog
from paaplus.services.images import images
from paaplus.services.images.features import COLUMNS, SortedFeatures, delete_damaged, sorted_features, usable_features
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

    user_id: UUID
    epoch: int
    policy: Policy
    base_model_id: UUID
    base: BaseScorer
    starting_point: StartingPoint
    active: AdapterRow | None
    reference: AdapterRow | None
    drifted_since: int  # sequence of the last event before the drift; 0: no drift was found
    log: FeedbackLog
    features: dict[UUID, np.ndarray]  # of rated and compared images, float16, shape (D,)
    num_missing_features: int
    pool: list[np.ndarray]  # features of some images that the user may see
    preference: list[float] | None = None  # generic scores are computed with it; None: without one
    preference_version: int | None = None

    def with_quarantine(self, database: Database, sequences: Collection[int]) -> Snapshot:
        """The snapshot as it will be when these events, and no others, are in quarantine."""
        log = self.log.with_quarantine(sequences, self.epoch + 1)
        with database.read_session() as session:
            active = versions.active(session, self.user_id)
            reference = _reference(session, active, self.base_model_id, self.preference, log)
        return replace(self, log=log, reference=reference)

    def project(self, features_ND: np.ndarray) -> np.ndarray:
        """Project features to taste space with the user's preference, shape (N, R)."""
        return self.base.project(features_ND, self.preference)


def read_snapshot(database: Database, blobs: BlobStore, user_id: UUID, settings: Settings) -> Snapshot:
    """Read what a training needs, in one read transaction.

    If images of the log have no features yet, or damaged ones, enqueues a features job; `num_missing_features` counts
    these images.

    Raises:
        NotFound: the user was erased.
        Unavailable: there is no base model.
    """
    with database.read_session() as session:
        user = existing_user(session, user_id)
        base_row = base_models.default(session, settings)
        log = feedback_log.read(session, user, settings.holdout_key.get_secret_value())
        image_ids = log.image_ids()
        stored = _features(session, base_row, image_ids)
        num_missing = len(image_ids) - len(stored.usable) - len(stored.failed)
        pool = _pool(session, user, base_row)
        starting_rows = starting_point.read(session, user_id, base_row)
        own = preferences.preference_of(session, user_id)
        base = base_models.load(blobs, base_row)
        preference = preferences.effective(base, own[0]) if own is not None else None
        active = versions.active(session, user_id)
        reference = _reference(session, active, base_row.id, preference, log)
    if num_missing:
        with database.session() as session:
            if stored.damaged:
                delete_damaged(session, base_row.extractor_digest, stored.damaged)
            images.request_features(session, image_ids, settings)
    policy = drift.training_policy(user)
    return Snapshot(
        user_id=user_id,
        epoch=user.epoch,
        policy=policy,
        base_model_id=base_row.id,
        base=base,
        starting_point=starting_point.load(blobs, base, starting_rows, policy),
        active=active,
        reference=reference,
        drifted_since=drift.drifted_since(user),
        log=log,
        features=stored.usable,
        num_missing_features=num_missing,
        pool=pool,
        preference=preference,
        preference_version=own[1] if own is not None and preference is not None else None,
    )


def _features(session: Session, base_row: BaseModelRow, image_ids: set[UUID]) -> SortedFeatures:
    rows = session.execute(
        sa.select(*COLUMNS).where(
            FeaturesRow.extractor_digest == base_row.extractor_digest, FeaturesRow.image_id.in_(image_ids)
        )
    )
    return sorted_features(rows, base_row.feature_dim)


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


def _pool(session: Session, user: UserRow, base_row: BaseModelRow) -> list[np.ndarray]:
    rows = session.execute(
        sa.select(*COLUMNS)
        .join(ImageRow, ImageRow.id == FeaturesRow.image_id)
        .where(
            FeaturesRow.extractor_digest == base_row.extractor_digest,
            FeaturesRow.data.is_not(None),
            ImageRow.application == user.application,
            sa.or_(ImageRow.owner_id.is_(None), ImageRow.owner_id == user.id),
        )
        .order_by(ImageRow.sha256)
        .limit(POOL_SIZE)
    )
    return list(usable_features(rows, base_row.feature_dim).values())
