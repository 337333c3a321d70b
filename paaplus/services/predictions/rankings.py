"""Rankings: images in one user's order, beside the order of the generic scores.

Scores are those of `predict`, to the bit. A ranking writes no receipts: a correction names the score that a person was
shown and disagrees with, and a ranking shows an order. Whoever needs receipts asks for predictions of the images shown.

Shape letters: N = ranked images, P = images to choose diverse ones from, R = taste space dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.row_sets import encoded, row_set
from paaplus.db.tables import BaseModelRow, ImageRow, UserRow
from paaplus.db.users import existing_user
from paaplus.errors import Damaged, InvalidInput, NotFound, Unavailable
from paaplus.records import SCORE_MAX
from paaplus.services.feedback import feedback_log
from paaplus.services.images.filters import EVERY_IMAGE, ImageFilter
from paaplus.services.predictions.answers import source_of
from paaplus.services.predictions.serving import ServedAdapter, Source, SourceReason
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.settings import Settings

TOP_MAX: Final = 1_000
RELEVANCE: Final = 0.5  # of a diverse choice: the rest is for being unlike what was chosen before
_POOL_LEAST, _POOL_PER_CHOSEN = 200, 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to rank.

    Args:
        user_id: in whose order.
        images: platform's ids or own ids; None: all images that the user may see and `filter` lets through.
        aspect: what to rank by; None: the base model's first aspect.
        top: how many images to answer with; None: all.
        only_unrated: leave out what the user has rated or liked.
        diverse: choose images that are also unlike each other.
    """

    user_id: UUID
    images: Sequence[str] | None = None
    filter: ImageFilter = EVERY_IMAGE
    aspect: str | None = None
    top: int | None = 20
    only_unrated: bool = False
    diverse: bool = False


@dataclass(frozen=True, slots=True)
class RankedImage:
    """One image of a ranking. `rank` and `generic_rank` count from 1 among all images that were ranked.

    `rating` is the user's own latest rating of the aspect on the score scale, `liked` the latest like; None: no such
    answer. Both also if the gate or a rollback has excluded them: it is still their answer.
    """

    image_id: UUID
    name: str | None
    external_id: str | None
    theme: str | None
    score: float
    generic_score: float
    rank: int
    generic_rank: int
    rating: float | None
    liked: bool | None

    @property
    def stars(self) -> int | None:
        """The rating as 1 to 5 stars; None: there is none."""
        return None if self.rating is None else round(1 + 4 * self.rating / SCORE_MAX)


@dataclass(frozen=True, slots=True)
class Ranking:
    """A ranking. `num_ranked` images have a score; `num_pending` have no features yet, `num_failed` never will.

    `is_complete` is False if the user may see more images than one ranking looks at: the newest were ranked.
    """

    user_id: UUID
    base_model: BaseModelRow
    aspect: str
    source: Source
    source_reason: SourceReason
    adapter: ServedAdapter | None
    items: list[RankedImage]
    num_ranked: int
    num_pending: int
    num_failed: int
    is_complete: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    id: UUID
    name: str | None
    external_id: str | None
    theme: str | None
    owner_id: UUID | None


def rank(database: Database, store: ServingStore, settings: Settings, wanted: Wanted) -> Ranking:
    """Rank images for a user: the highest score first; equal scores in order of their ids.

    The number of queries does not depend on the number of images.

    Raises:
        InvalidInput: too many images, `top` out of range, or an aspect that the base model does not have.
        NotFound: no such user, or no such image for this user.
        Unavailable: no base model yet, or the base model or the user's version is damaged.
    """
    _check(wanted, settings)
    with database.read_session() as session:
        user = existing_user(session, wanted.user_id)
        candidates = (
            _every_image(session, user, wanted.filter, settings.max_ranking_images + 1)
            if wanted.images is None
            else _named_images(session, user, wanted.images)
        )
        ratings, likes = _said(session, user)
    is_complete = len(candidates) <= settings.max_ranking_images
    candidates = candidates[: settings.max_ranking_images]
    if wanted.only_unrated:
        candidates = [each for each in candidates if each.id not in ratings and each.id not in likes]
    serving = store.load([user.id], [each.id for each in candidates])
    aspect = wanted.aspect or serving.scorer.aspects[0]
    if aspect not in serving.scorer.aspects:
        raise InvalidInput(f"unknown aspect {aspect!r:.80}; known: {sorted(serving.scorer.aspects)}")
    place = serving.scorer.aspects.index(aspect)
    scored = sorted((each for each in candidates if each.id in serving.images), key=lambda each: each.id)
    try:
        adapter = serving.adapter_of(user.id)
    except Damaged as error:
        raise Unavailable(str(error)) from error
    version = serving.versions.get(user.id)
    served = version.facts if version is not None else None
    source, reason = source_of(served, adapter is not None)
    items: list[RankedImage] = []
    if scored:
        images_N = serving.images_of(user.id, [each.id for each in scored])
        taste_NR = np.stack([image.taste_R for image in images_N])
        generic_NA = np.stack([image.generic_A for image in images_N])
        score_N = (adapter.score(taste_NR, generic_NA) if adapter is not None else generic_NA)[:, place]
        order_N, rank_N = _order(score_N)
        _, generic_rank_N = _order(generic_NA[:, place])
        chosen = (
            _diverse(order_N, score_N, taste_NR, wanted.top or TOP_MAX)
            if wanted.diverse
            else order_N[: wanted.top].tolist()
        )
        items = [
            RankedImage(
                image_id=scored[n].id,
                name=scored[n].name,
                external_id=scored[n].external_id,
                theme=scored[n].theme,
                score=float(score_N[n]),
                generic_score=float(generic_NA[n, place]),
                rank=int(rank_N[n]),
                generic_rank=int(generic_rank_N[n]),
                rating=ratings.get(scored[n].id, {}).get(aspect),
                liked=likes.get(scored[n].id),
            )
            for n in chosen
        ]
    num_failed = sum(each.id in serving.failed for each in candidates)
    return Ranking(
        user_id=user.id,
        base_model=serving.base_model,
        aspect=aspect,
        source=source,
        source_reason=reason,
        adapter=served if adapter is not None else None,
        items=items,
        num_ranked=len(scored),
        num_pending=len(candidates) - len(scored) - num_failed,
        num_failed=num_failed,
        is_complete=is_complete,
    )


def _check(wanted: Wanted, settings: Settings) -> None:
    if wanted.top is not None and not 1 <= wanted.top <= TOP_MAX:
        raise InvalidInput(f"top {wanted.top}: 1 to {TOP_MAX}")
    if wanted.images is not None and len(wanted.images) > settings.max_ranking_images:
        raise InvalidInput(f"{len(wanted.images)} images; at most {settings.max_ranking_images} are ranked in one call")


def _visible(user: UserRow) -> sa.ColumnElement[bool]:
    """SQL condition: the user's own images and the shared ones of the application."""
    return sa.and_(
        ImageRow.application == user.application, sa.or_(ImageRow.owner_id.is_(None), ImageRow.owner_id == user.id)
    )


_COLUMNS: Final[Sequence[Any]] = (
    ImageRow.id,
    ImageRow.name,
    ImageRow.external_id,
    ImageRow.theme,
    ImageRow.owner_id,
)


def _every_image(session: Session, user: UserRow, wanted: ImageFilter, limit: int) -> list[_Candidate]:
    """The newest images that the user may see."""
    query = sa.select(*_COLUMNS).where(_visible(user), *wanted.conditions())
    return [_Candidate(*row) for row in session.execute(query.order_by(ImageRow.id.desc()).limit(limit))]


def _named_images(session: Session, user: UserRow, refs: Sequence[str]) -> list[_Candidate]:
    """The images of these references, each once: the platform's id, else the own id of the user's or a shared image.

    Raises:
        NotFound: one of them does not exist for this user; the message names it.
    """
    as_ids = {ref: as_id for ref in refs if (as_id := _as_uuid(ref)) is not None}
    dialect = session.get_bind().dialect.name  # the ids as two parameters: SQLite takes fewer than there may be
    ids, names = row_set(dialect, "ids", {"id": sa.Uuid()}), row_set(dialect, "names", {"name": sa.String()})
    query = sa.select(*_COLUMNS).where(
        _visible(user),
        sa.or_(ImageRow.id.in_(sa.select(ids.c.id)), ImageRow.external_id.in_(sa.select(names.c.name))),
    )
    parameters = {
        "ids": encoded(dialect, ([image_id] for image_id in as_ids.values())),
        "names": encoded(dialect, ([ref] for ref in refs)),
    }
    found = [_Candidate(*row) for row in session.execute(query, parameters)]
    by_id = {each.id: each for each in found}
    by_own_id: dict[str, _Candidate] = {}
    for each in sorted(found, key=lambda each: each.owner_id is not None):  # the user's own replaces a shared one
        if each.external_id is not None:
            by_own_id[each.external_id] = each
    named: dict[UUID, _Candidate] = {}
    for ref in refs:
        image = by_id.get(as_ids[ref]) if ref in as_ids else None
        image = image or by_own_id.get(ref)
        if image is None:
            raise NotFound(f"image {ref!r:.200} does not exist for this user")
        named[image.id] = image
    return list(named.values())


def _as_uuid(ref: str) -> UUID | None:
    try:
        return UUID(ref)
    except ValueError:
        return None


def _said(session: Session, user: UserRow) -> tuple[dict[UUID, dict[str, float]], dict[UUID, bool]]:
    """The user's latest ratings (by image and aspect) and likes (by image), without those that were retracted."""
    log = replace(feedback_log.read(session, user, None), exclusions=())
    return (
        {rating.image_id: rating.scores for rating in log.latest_ratings()},
        {like.image_id: like.liked for like in log.latest_likes()},
    )


def _order(score_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions from the highest score to the lowest, equal ones in order, and each position's rank from 1."""
    order_N = np.argsort(-score_N, kind="stable")
    rank_N = np.empty(len(score_N), int)
    rank_N[order_N] = np.arange(1, len(score_N) + 1)
    return order_N, rank_N


def _diverse(order_N: np.ndarray, score_N: np.ndarray, taste_NR: np.ndarray, top: int) -> list[int]:
    """Maximal marginal relevance (Carbonell & Goldstein, 1998) among the first of the order.

    Relevance is the score, 0-1 in the pool; similarity is the cosine of taste vectors around the pool's mean.
    """
    pool_P = order_N[: max(_POOL_LEAST, _POOL_PER_CHOSEN * top)]
    relevance_P = score_N[pool_P].astype(np.float64)
    relevance_P = (relevance_P - relevance_P.min()) / max(float(np.ptp(relevance_P)), 1e-9)
    unit_PR = taste_NR[pool_P].astype(np.float64)
    unit_PR -= unit_PR.mean(0)
    unit_PR /= np.maximum(np.linalg.norm(unit_PR, axis=1, keepdims=True), 1e-12)
    similarity_P = np.full(len(pool_P), -1.0)  # to the most similar of the chosen
    value_P = relevance_P.copy()
    chosen: list[int] = []
    for _ in range(min(top, len(pool_P))):
        best = int(np.argmax(value_P))
        chosen.append(best)
        similarity_P = np.maximum(similarity_P, unit_PR @ unit_PR[best])
        value_P = RELEVANCE * relevance_P - (1 - RELEVANCE) * similarity_P
        value_P[chosen] = -np.inf
    return [int(pool_P[place]) for place in chosen]
