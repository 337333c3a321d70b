"""Suggest images to rate next: those whose ratings reduce the uncertainty of the user's scores most."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.users import existing_user
from paaplus.errors import Unavailable
from paaplus.scoring.acquisition import informative_order
from paaplus.scoring.priors import OwnPrior, Prior, design
from paaplus.services import scheduling
from paaplus.services.adaptation import starting_point
from paaplus.services.predictions import latest_feedback
from paaplus.services.predictions.latest_feedback import LatestFeedback
from paaplus.services.predictions.serving import Serving
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

POOL_SIZE: Final = 300


def to_rate(
    database: Database, blobs: BlobStore, store: ServingStore, settings: Settings, user_id: UUID, *, count: int
) -> list[UUID]:
    """Up to `count` unrated shared images of the application, the most informative first.

    Images whose ratings are held out are included at their usual share, because the gate needs them.

    Raises:
        NotFound: no such user.
        Unavailable: there is no base model, or an artifact is damaged.
    """
    with database.read_session() as session:
        user = existing_user(session, user_id)
        base_row = base_models.default(session, settings)
        known, policy = latest_feedback.read(session, user, settings), scheduling.policy_of(user)
        starting_rows = starting_point.read(session, user_id, base_row)
        pool = latest_feedback.shared_images(
            session, user, base_row.extractor_digest, settings, limit=POOL_SIZE, with_held_out=True
        )
        query = sa.select(FeedbackRow.image_id).where(FeedbackRow.user_id == user_id)
        rated = set(session.execute(query.where(FeedbackRow.kind != FeedbackKind.COMPARISON)).scalars())
    serving = store.load((user_id,), known.image_ids() | set(pool))
    if serving.base_model.id != base_row.id:
        raise Unavailable("another base model has just become the default; try again")
    prior = starting_point.load(blobs, serving.scorer, starting_rows, policy).prior or OwnPrior(serving.scorer)
    usable = [image_id for image_id in pool if image_id in serving.images]
    unrated = [place for place, image_id in enumerate(usable) if image_id not in rated]
    orders = [
        _order(serving, known, prior, usable, unrated, count, aspect) for aspect in range(len(serving.scorer.aspects))
    ]
    # One rating covers all aspects, so the aspects' orders take turns.
    merged = dict.fromkeys(place for place in chain.from_iterable(zip_longest(*orders)) if place is not None)
    return [usable[place] for place in list(merged)[:count]]


def _order(
    serving: Serving,
    known: LatestFeedback,
    prior: Prior,
    images: list[UUID],
    unrated: list[int],
    count: int,
    aspect: int,
) -> list[int]:
    """Places in `images`, the most informative rating of this aspect first."""
    if not unrated:
        return []
    taste_IR, generic_IA = known.inputs_of(serving, images)
    pool_IK = prior.coordinates(design(taste_IR, generic_IA[:, aspect]), aspect)
    narrowed_IK = pool_IK @ _root(serving, known, prior, aspect)
    scaled_NK = narrowed_IK[unrated] / float(prior.noise_sd_A[aspect])
    return [unrated[i] for i in informative_order(scaled_NK, narrowed_IK, count)]


def _root(serving: Serving, known: LatestFeedback, prior: Prior, aspect: int) -> np.ndarray:
    """Cholesky factor of the posterior covariance given the user's feedback, shape (K, K)."""
    from paaplus.scoring import closed_form  # imports scipy, which no other request needs

    posterior = closed_form.posterior_of(known.rated_set(serving), known.compared_set(serving), prior, aspect)
    return np.linalg.cholesky(posterior.covariance_KK + 1e-12 * np.eye(prior.num_coordinates))
