"""Suggest images to rate and pairs to compare next: those whose answers reduce the uncertainty of scores most."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Final
from uuid import UUID

import numpy as np

from paaplus.db.engine import Database
from paaplus.db.users import existing_user
from paaplus.errors import Unavailable
from paaplus.scoring.acquisition import informative_order
from paaplus.scoring.priors import OwnPrior, Prior, design
from paaplus.services import scheduling
from paaplus.services.adaptation import starting_point
from paaplus.services.images.filters import rated_images
from paaplus.services.predictions import latest_feedback
from paaplus.services.predictions.latest_feedback import LatestFeedback
from paaplus.services.predictions.serving import Serving
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

POOL_SIZE: Final = 300


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image to rate. `doubt_points`: standard deviation of what is known of its score, of the least known aspect."""

    image_id: UUID
    doubt_points: float


@dataclass(frozen=True, slots=True)
class SuggestedPair:
    """Two images to compare, and the expected information of the answer, in nats."""

    first_id: UUID
    second_id: UUID
    expected_information: float


@dataclass(frozen=True)
class _Basis:
    """What suggestions depend on, from one moment. `usable`: images of the pool that can be scored."""

    known: LatestFeedback
    serving: Serving
    prior: Prior
    usable: list[UUID]
    rated: set[UUID]


def to_rate(
    database: Database,
    blobs: BlobStore,
    store: ServingStore,
    settings: Settings,
    user_id: UUID,
    *,
    count: int,
    among: Sequence[UUID] | None = None,
) -> list[UUID]:
    """Up to `count` unrated images, the most informative first.

    Images whose ratings are held out are included at their usual share, because the gate needs them.

    Args:
        among: the images to choose from, of which the first 300 are looked at; None: the application's shared images.

    Raises:
        NotFound: no such user.
        Unavailable: there is no base model, or an artifact is damaged.
    """
    pool = None if among is None else list(among)[:POOL_SIZE]
    return [each.image_id for each in ranked(database, blobs, store, settings, user_id, pool=pool, count=count)]


def ranked(
    database: Database,
    blobs: BlobStore,
    store: ServingStore,
    settings: Settings,
    user_id: UUID,
    *,
    pool: Sequence[UUID] | None,
    count: int,
) -> list[Suggestion]:
    """Up to `count` unrated images, the most informative first.

    Args:
        pool: the images to choose from; the user must be allowed to see them; None: shared images of the application.

    Raises:
        NotFound: no such user.
        Unavailable: there is no base model, or an artifact is damaged.
    """
    basis = _read(database, blobs, store, settings, user_id, pool)
    unrated = [place for place, image_id in enumerate(basis.usable) if image_id not in basis.rated]
    if not unrated:
        return []
    doubt_I = np.zeros(len(basis.usable))
    orders = []
    for aspect in range(len(basis.serving.scorer.aspects)):
        order, sd_I = _order(basis, unrated, count, aspect)
        orders.append(order)
        doubt_I = np.maximum(doubt_I, sd_I)
    # One rating covers all aspects, so the aspects' orders take turns.
    merged = dict.fromkeys(place for place in chain.from_iterable(zip_longest(*orders)) if place is not None)
    return [Suggestion(basis.usable[place], float(doubt_I[place])) for place in list(merged)[:count]]


def to_compare(
    database: Database,
    blobs: BlobStore,
    store: ServingStore,
    settings: Settings,
    user_id: UUID,
    *,
    pool: Sequence[UUID],
    asked: Collection[tuple[UUID, UUID]] = (),
) -> SuggestedPair | None:
    """The pair of the pool whose comparison tells most about the user's taste; None: every pair was asked.

    Args:
        pool: the images to choose from; the user must be allowed to see them.
        asked: pairs that are not asked again, in either order, beside those that the user has compared.

    Raises:
        NotFound: no such user.
        Unavailable: there is no base model, or an artifact is damaged.
    """
    from paaplus.scoring import questions  # imports scipy, which few requests need

    basis = _read(database, blobs, store, settings, user_id, pool)
    if len(basis.usable) < 2:
        return None
    place = {image_id: i for i, image_id in enumerate(basis.usable)}
    compared = [(each.first_id, each.second_id) for each in basis.known.comparisons]
    question = questions.next_pair(
        basis.serving.scorer,
        basis.prior,
        (),
        basis.known.rated_set(basis.serving),
        basis.known.compared_set(basis.serving),
        *basis.known.inputs_of(basis.serving, basis.usable),
        asked=[(place[a], place[b]) for a, b in [*asked, *compared] if a in place and b in place],
        seed=zlib.crc32(user_id.bytes),
    )
    if question is None:
        return None
    return SuggestedPair(basis.usable[question.first], basis.usable[question.second], question.expected_information)


def _read(
    database: Database,
    blobs: BlobStore,
    store: ServingStore,
    settings: Settings,
    user_id: UUID,
    pool: Sequence[UUID] | None,
) -> _Basis:
    with database.read_session() as session:
        user = existing_user(session, user_id)
        base_row = base_models.default(session, settings)
        known, policy = latest_feedback.read(session, user, settings), scheduling.policy_of(user)
        starting_rows = starting_point.read(session, user, base_row)
        if pool is None:
            pool = latest_feedback.shared_images(
                session, user, base_row.extractor_digest, settings, limit=POOL_SIZE, with_held_out=True
            )
        rated = {image_id for image_id in session.execute(rated_images(user_id)).scalars() if image_id is not None}
    serving = store.load((user_id,), known.image_ids() | set(pool))
    if serving.base_model.id != base_row.id:
        raise Unavailable("another base model has just become the default; try again")
    prior = starting_point.load(blobs, serving.scorer, starting_rows, policy).prior or OwnPrior(serving.scorer)
    return _Basis(known, serving, prior, [image_id for image_id in pool if image_id in serving.images], rated)


def _order(basis: _Basis, unrated: list[int], count: int, aspect: int) -> tuple[list[int], np.ndarray]:
    """Places in `usable`, the most informative rating of this aspect first; and every score's standard deviation."""
    taste_IR, generic_IA = basis.known.inputs_of(basis.serving, basis.usable)
    pool_IK = basis.prior.coordinates(design(taste_IR, generic_IA[:, aspect]), aspect)
    narrowed_IK = pool_IK @ _root(basis, aspect)
    scaled_NK = narrowed_IK[unrated] / float(basis.prior.noise_sd_A[aspect])
    order = [unrated[i] for i in informative_order(scaled_NK, narrowed_IK, count)]
    return order, np.linalg.norm(narrowed_IK, axis=1)


def _root(basis: _Basis, aspect: int) -> np.ndarray:
    """Cholesky factor of the posterior covariance given the user's feedback, shape (K, K)."""
    from paaplus.scoring import closed_form  # imports scipy, which no other request needs

    known, serving, prior = basis.known, basis.serving, basis.prior
    posterior = closed_form.posterior_of(known.rated_set(serving), known.compared_set(serving), prior, aspect)
    return np.linalg.cholesky(posterior.covariance_KK + 1e-12 * np.eye(prior.num_coordinates))
