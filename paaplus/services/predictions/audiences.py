"""An image's audience: the scores of one image by every user of its application. It has no receipts.

The users are read page by page, each page from one moment; an adapter without a slot in the matrix is read from its
row. Scores have the bits that a prediction gives. Shape letters: N = users, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog

from paaplus.db.engine import Database
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of
from paaplus.db.tables import AdapterRow, BaseModelRow
from paaplus.errors import Damaged, InvalidInput, NotFound, Unavailable
from paaplus.services.images import images
from paaplus.services.predictions import user_pages
from paaplus.services.predictions.adapter_matrix import AdapterMatrix, ReadVersion, Scored
from paaplus.services.predictions.answers import Target
from paaplus.services.predictions.predict import Predictor
from paaplus.services.predictions.serving import ProjectedImage, Serving
from paaplus.services.predictions.serving_store import verified_adapter
from paaplus.services.predictions.user_pages import UserPage, UserPages
from paaplus.services.users import users
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings

PAGE_USERS: Final = 100_000  # of one page; what is kept of it takes some 30 MB
TOP_MAX: Final = 10_000
ITEMS_AT_ONCE: Final = 1_000  # predictions that are made together, where each user's generic scores differ

_VERSION: Final[tuple[Any, ...]] = (
    AdapterRow.id,
    AdapterRow.number,
    AdapterRow.digest,
    BaseModelRow.digest.label("base"),
    AdapterRow.data,
)
_VERSIONS: Final = Prepared(
    lambda dialect: (
        sa.select(*_VERSION)
        .join(BaseModelRow, BaseModelRow.id == AdapterRow.base_model_id)
        .where(AdapterRow.id.in_(one_of(dialect, "ids", sa.Uuid())))
    )
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What is asked. Either `users`, or all of the image's application, page by page.

    Args:
        image_id: the image.
        users: references of users; None: all.
        top: the users with the highest scores only, so many; None: all, in the order of their ids or as given.
        aspect: `top` goes by it; None: the base model's first.
        after: only users whose ids are greater.
        limit: users of the page.
    """

    image_id: UUID
    users: Sequence[str] | None = None
    top: int | None = None
    aspect: str | None = None
    after: UUID = user_pages.FIRST
    limit: int = PAGE_USERS


@dataclass(frozen=True)
class Audience:
    """The users of an answer with their scores.

    Args:
        base_model: its row.
        image_id: the image.
        image: its generic scores, without any preference.
        users: in the order of the answer.
        scored: their scores and versions.
        next_after: `after` of the next page; None: this is the last.
    """

    base_model: BaseModelRow
    image_id: UUID
    image: ProjectedImage
    users: UserPage
    scored: Scored
    next_after: UUID | None = None


class Audiences:
    """Scores audiences in one process."""

    def __init__(self, database: Database, predictor: Predictor, settings: Settings) -> None:
        self._database = database
        self._predictor = predictor
        self._max_bytes = settings.audiences_cache_mb * 2**20
        self._pages = UserPages()
        self._matrix: tuple[str, AdapterMatrix] | None = None  # of the base model with this digest

    @property
    def num_hits(self) -> int:
        """Of the matrix of the base model that was asked for last."""
        return self._matrix[1].num_hits if self._matrix is not None else 0

    @property
    def num_misses(self) -> int:
        return self._matrix[1].num_misses if self._matrix is not None else 0

    @property
    def size_bytes(self) -> int:
        return self._matrix[1].size_bytes if self._matrix is not None else 0

    def score(self, principal: Principal, wanted: Wanted, spend: Callable[[int], None]) -> Audience:
        """Score an image for its audience.

        Args:
            spend: is told the number of scores in the answer, before they are computed; it may refuse.

        Raises:
            NotFound: the image, or a user of `users`, does not exist for this principal.
            InvalidInput: the base model has no such aspect, or the image can never be scored.
            Unavailable: the image has no features yet, or there is no base model.
        """
        with self._database.read_session() as session:
            application = images.get(session, principal, wanted.image_id).application
        serving = self._serving(wanted.image_id)
        aspect = _aspect(serving, wanted.aspect)
        if wanted.users is not None:
            page = self._named(principal, application, wanted.users)
            spend(len(page) if wanted.top is None else wanted.top)
            found = self._scored(serving, wanted.image_id, page)
            return _first(found, aspect, wanted.top) if wanted.top is not None else _whole(found)
        if wanted.top is None:
            page = self._page(application, wanted.after, wanted.limit)
            spend(len(page))
            is_last = len(page) < wanted.limit
            found = self._scored(serving, wanted.image_id, page)
            return replace(_whole(found), next_after=None if is_last else page.last_id)
        spend(wanted.top)
        return self._top(serving, wanted.image_id, application, aspect, wanted.top)

    def _top(self, serving: Serving, image_id: UUID, application: str, aspect: int, top: int) -> Audience:
        """The best of all pages."""
        best: Audience | None = None
        after: UUID | None = user_pages.FIRST
        while after is not None:
            page = self._page(application, after, PAGE_USERS)
            after = None if len(page) < PAGE_USERS else page.last_id
            found = _first(self._scored(serving, image_id, page), aspect, top)
            best = found if best is None else _first(_joined(best, found), aspect, top)
        assert best is not None, "there is a first page, even if it is empty"
        return best

    def _page(self, application: str, after: UUID, num: int) -> UserPage:
        with self._database.read_connection() as connection:
            return self._pages.read(connection, application, after, num)

    def _named(self, principal: Principal, application: str, refs: Sequence[str]) -> UserPage:
        with self._database.read_session() as session:
            found = users.resolve_ids_and_applications(session, principal, set(refs))
            for ref in refs:
                if ref not in found or found[ref][1] != application:
                    raise NotFound(f"user {ref!r} does not exist in the image's application")
            return user_pages.named(session.connection(), [found[ref][0] for ref in refs])

    def _serving(self, image_id: UUID) -> Serving:
        """The base model and the image."""
        serving = self._predictor.store.load((), [image_id])
        if (error := serving.failed.get(image_id)) is not None:
            raise InvalidInput(f"image {image_id} cannot be scored: {error}")
        if image_id not in serving.images:
            self._predictor.request_again(serving, {image_id})
            raise Unavailable(f"image {image_id} has no features yet; a worker extracts them")
        return serving

    def _scored(self, serving: Serving, image_id: UUID, page: UserPage) -> Audience:
        image = serving.images[image_id]
        if serving.scorer.preference_dim:
            scored = self._predicted(image_id, image, page)
        else:
            matrix = self._matrix_of(serving)
            scored = matrix.score(page.version_N, image.taste_R, image.generic_A, self._reader(serving))
        return Audience(serving.base_model, image_id, image, page, scored)

    def _matrix_of(self, serving: Serving) -> AdapterMatrix:
        digest = serving.base_model.digest
        if self._matrix is None or self._matrix[0] != digest:
            scorer = serving.scorer
            self._matrix = digest, AdapterMatrix(len(scorer.aspects), scorer.taste_dim, self._max_bytes)
        return self._matrix[1]

    def _reader(self, serving: Serving) -> Callable[[Sequence[bytes]], Iterator[ReadVersion]]:
        base_digest = serving.base_model.digest

        def read(versions: Sequence[bytes]) -> Iterator[ReadVersion]:
            with self._database.read_connection() as connection:
                ids = [UUID(version.decode()) for version in versions]
                rows = _VERSIONS.rows(connection, ids=listed(connection, ids))
            for version_id, number, digest, of_base, data in rows:
                version = as_uuid(version_id).hex.encode()
                if of_base != base_digest:
                    yield ReadVersion(version, number, None)
                    continue
                try:
                    yield ReadVersion(version, number, verified_adapter(digest, data, base_digest))
                except Damaged as error:
                    log.error("adapter_damaged", adapter_id=version.decode(), error=str(error))
                    yield ReadVersion(version, number, None, str(error))

        return read

    def _predicted(self, image_id: UUID, image: ProjectedImage, page: UserPage) -> Scored:
        """Scores where a preference may change each user's generic scores: those of predictions."""
        user_ids = page.user_ids
        found = Scored(np.tile(image.generic_A, (len(page), 1)), np.zeros(len(page), np.int64))
        for start in range(0, len(page), ITEMS_AT_ONCE):
            targets = [Target(user_id, image_id) for user_id in user_ids[start : start + ITEMS_AT_ONCE]]
            answer = self._predictor.answer(targets, with_receipts=False)
            for user in answer.scored:
                for place, score_A in zip(user.places, user.score_NA, strict=True):
                    found.score_NA[start + place] = score_A
                    found.number_N[start + place] = user.adapter.number if user.adapter is not None else 0
            found.damaged |= {start + place: item.error or item.status for place, item in answer.unscored.items()}
        return found


def _aspect(serving: Serving, name: str | None) -> int:
    aspects = serving.scorer.aspects
    if name is not None and name not in aspects:
        raise InvalidInput(f"the base model has no aspect {name!r}; it has {', '.join(aspects)}")
    return 0 if name is None else aspects.index(name)


def _whole(found: Audience) -> Audience:
    """All users who still exist."""
    if not found.scored.gone:
        return found
    gone = set(found.scored.gone)
    return _of(found, [place for place in range(len(found.users)) if place not in gone])


def _first(found: Audience, aspect: int, top: int) -> Audience:
    """The users with the highest scores; of equal ones those who come first. A damaged version has no score."""
    scored = found.scored
    left_out = [*scored.gone, *scored.damaged]
    rank_N = -scored.score_NA[:, aspect]
    rank_N[left_out] = np.inf
    order = np.argsort(rank_N, kind="stable")[: min(top, len(rank_N) - len(left_out))]
    return _of(found, order.tolist())


def _of(found: Audience, places: list[int]) -> Audience:
    scored = found.scored
    damaged = {new: scored.damaged[old] for new, old in enumerate(places) if old in scored.damaged}
    return replace(
        found, users=found.users.of(places), scored=Scored(scored.score_NA[places], scored.number_N[places], damaged)
    )


def _joined(first: Audience, second: Audience) -> Audience:
    """Two answers without damaged versions as one."""
    a, b = first.scored, second.scored
    scored = Scored(np.concatenate([a.score_NA, b.score_NA]), np.concatenate([a.number_N, b.number_N]))
    return replace(first, users=first.users + second.users, scored=scored)
