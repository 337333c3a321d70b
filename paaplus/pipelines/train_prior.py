"""Fit a taste prior for a base model: to a data folder, or to the users of the deployment who share their taste.

Shape letters: N = ratings of a person, D = feature dim.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.configs import GateConfig
from paaplus.csv_files import STANDARD, CsvFormat
from paaplus.data.features import folder_features
from paaplus.data.folder import DEFAULT_ASPECT, DataFolder, read_folder
from paaplus.data.readable_images import readable_images
from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow, UserRow
from paaplus.errors import InvalidInput
from paaplus.fitting.prior_trial import trial
from paaplus.fitting.taste_prior import check_raters, fit_taste_prior
from paaplus.gate import feedback_verdict
from paaplus.models.extractor import Extractor
from paaplus.records import NO_COMPARISONS, RatedSet, Scale
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import OwnPrior, Prior, TastePrior
from paaplus.services.feedback import feedback_log
from paaplus.services.feedback.arrays import rated_set
from paaplus.services.images import features

Progress = Callable[[int, int], None]


def _no_progress(done: int, total: int) -> None: ...


def prior_from_folder(
    base: BaseScorer,
    extractor: Extractor,
    data: Path,
    *,
    cache_dir: Path,
    people: Collection[str] | None = None,
    scale: tuple[float, float] | None = None,
    aspect: str = DEFAULT_ASPECT,
    layout: CsvFormat = STANDARD,
    strict: bool = False,
    progress: Progress = _no_progress,
) -> tuple[TastePrior, dict[str, Any]]:
    """Fit a prior to the ratings of a data folder.

    Args:
        base: the base model that the prior is for.
        extractor: the extractor of that base model.
        data: the folder, see `paaplus.data.folder`.
        cache_dir: cache of features.
        people: user_ids whose ratings are used; None: everybody's.
        scale: smallest and largest possible rating; None: those in the folder.
        aspect: the aspect of a column named `rating`.
        layout: delimiter and decimal mark of the folder's tables.
        strict: refuse what is skipped with a warning otherwise.
        progress: called with the number of images that have features and the number of all.

    Raises:
        InvalidInput: the folder is wrong, rates other aspects than the base model, or has fewer than 50 people.
    """
    if extractor.digest != base.extractor_digest:
        raise InvalidInput(f"extractor {extractor.digest[:12]}; the base model's is {base.extractor_digest[:12]}")
    folder = read_folder(data, Scale(*scale) if scale else None, aspect, layout=layout, strict=strict)
    folder = folder.only(people, None)
    if missing := sorted(set(base.aspects) - set(folder.aspects)):
        raise InvalidInput(f"{data} rates {list(folder.aspects)}; the base model scores {missing} too")
    for name in base.aspects:  # before hours of features
        rated_N = ~np.isnan(folder.rating_NA[:, folder.aspects.index(name)])
        check_raters(name, len(np.unique(folder.person_N[rated_N])))
    folder = readable_images(folder, strict=strict)
    features_ID = folder_features(folder, extractor, cache_dir, progress=progress)
    return fit_taste_prior(base, list(ratings_by_person(base, folder, features_ID).values()))


def ratings_by_person(base: BaseScorer, folder: DataFolder, features_ID: np.ndarray) -> dict[str, RatedSet]:
    """Each person's ratings, by user_id. The folder must rate all aspects of the base model."""
    column_A = [folder.aspects.index(name) for name in base.aspects]
    taste_IR = base.project(features_ID)
    generic_IA = base.generic(taste_IR)
    rated = {}
    for person, user_id in enumerate(folder.people):
        rows_N = np.flatnonzero(folder.person_N == person)
        image_N = folder.image_N[rows_N]
        target_NA = folder.score_NA[rows_N][:, column_A]
        sequence_N = np.arange(1, len(rows_N) + 1)
        rated[user_id] = RatedSet.of(sequence_N, taste_IR[image_N], generic_IA[image_N], target_NA)
    return rated


def prior_from_users(
    base: BaseScorer,
    database: Database,
    holdout_key: str,
    *,
    application: str | None,
    current: Prior | None,
    progress: Progress = _no_progress,
) -> tuple[TastePrior, dict[str, Any], list[UUID], str | None]:
    """Fit a prior to the ratings of users who share their taste, and try it on people that it was not fitted on.

    Held-out ratings are not used, because the gate uses them for versions that start from this prior. Users whose
    ratings rather follow no order are left out: whatever they are, they are no taste.

    Args:
        base: the base model that the prior is for.
        database: with the users.
        holdout_key: the secret that decides which ratings are held out.
        application: whose users; None: those of all applications.
        current: the prior in force, which the new one must beat; None: the base model's own.
        progress: called with the number of users who were read and the number of all.

    Returns:
        Prior, metrics, these users' ids, and why it must not come into force; None: it may.

    Raises:
        InvalidInput: fewer than 50 such users rated an aspect.
    """
    wanted = sa.select(UserRow).where(UserRow.shares_taste).order_by(UserRow.id)
    if application is not None:
        wanted = wanted.where(UserRow.application == application)
    with database.read_session() as session:
        users = session.execute(wanted).scalars().all()
        rated, user_ids = [], []
        for done, user in enumerate(users):
            progress(done, len(users))
            user_ratings = ratings_of_user(session, base, user, holdout_key)
            if user_ratings is not None and _follows_an_order(base, user_ratings):
                rated.append(user_ratings)
                user_ids.append(user.id)
        progress(len(users), len(users))
    prior, metrics = fit_taste_prior(base, rated)
    result = trial(base, rated, current or OwnPrior(base))
    return prior, {**metrics, "trial": result.to_dict()}, user_ids, result.refused


def _follows_an_order(base: BaseScorer, rated: RatedSet) -> bool:
    """Whether a user's ratings follow an order rather than none, by the gate's evidence."""
    return feedback_verdict(rated, NO_COMPARISONS, OwnPrior(base), GateConfig()).score >= 0.0


def ratings_of_user(
    session: Session, base: BaseScorer, user: UserRow, holdout_key: str, without: Collection[UUID] = ()
) -> RatedSet | None:
    """A user's latest ratings that are not held out, of images with features; None: there are none.

    Args:
        session: a read session.
        base: the base model.
        user: the user.
        holdout_key: the secret that decides which ratings are held out.
        without: images whose ratings are left out.
    """
    latest = feedback_log.read(session, user, holdout_key).latest_ratings()
    ratings = [rating for rating in latest if not rating.held_out]
    stored = session.execute(
        sa.select(*features.COLUMNS).where(
            FeaturesRow.extractor_digest == base.extractor_digest,
            FeaturesRow.image_id.in_({rating.image_id for rating in ratings} - set(without)),
        )
    )
    usable = features.usable_features(stored, base.feature_dim)
    ratings = [rating for rating in ratings if rating.image_id in usable]
    if not ratings:
        return None

    def inputs(image_ids: list[UUID]) -> tuple[np.ndarray, np.ndarray]:
        taste_NR = base.project(np.stack([usable[image_id] for image_id in image_ids]))
        return taste_NR, base.generic(taste_NR)

    return rated_set(ratings, base.aspects, inputs)
