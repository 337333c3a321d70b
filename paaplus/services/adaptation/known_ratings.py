"""Latest ratings of long logs, as arrays, that a worker has read before: of these only newer events are added.

What is known is a hint, as in `known_logs`: it is used where the log continues the one that it was made from, and where
nothing of the log was ever retracted or excluded. Otherwise, and where a newer answer was given before an older one or
about fewer aspects, everything is made anew. Both ways give the same.

Shape letters: N = ratings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session

from paaplus.records import RatedSet
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.fingerprints import word_sums
from paaplus.services.adaptation.growing_ratings import ROOM, GrowingRatings
from paaplus.services.adaptation.projections import Projections, ReadImages, inputs_of
from paaplus.services.feedback import arrays
from paaplus.services.feedback.feedback_log import FeedbackLog, LatestRating, only_rating
from paaplus.services.predictions.cache import SizedCache
from paaplus.services.predictions.serving import ProjectedImage

RATINGS_MB: Final = 64
_SHORTEST: Final = 100  # events of a log that is worth it
_RATING_BYTES: Final = 1_000  # of a rating beside its numbers in taste space
_NUM_COPIES: Final = 1 + 2 * ROOM  # of these: of the image, of all ratings, and of those that train or are held out


@dataclass(frozen=True, eq=False, slots=True)
class KnownRatings:
    """The latest ratings of a log all of whose images can be scored.

    Attributes:
        log: it.
        ratings: in order of sequence.
        all: the same as arrays.
        parts: those that train, and those that are held out, as arrays.
        first_N: the number of the first event on each rated image.
        taste_sum_N2: the sums of the images' numbers, see `fingerprints`.
        latest: the ratings by image.
        images: all images of the log.
    """

    log: FeedbackLog
    ratings: list[LatestRating]
    all: GrowingRatings
    parts: tuple[GrowingRatings, GrowingRatings]
    first_N: np.ndarray
    taste_sum_N2: np.ndarray
    latest: dict[UUID, LatestRating]
    images: dict[UUID, ProjectedImage]

    @classmethod
    def of(cls, log: FeedbackLog, base: BaseScorer, images: dict[UUID, ProjectedImage]) -> KnownRatings:
        ratings, first_of = log.latest_ratings(), log.first_ratings()
        rated, held_out_N = _rated_set(ratings, base, images), _held_out(ratings)
        return cls(
            log,
            ratings,
            GrowingRatings(rated),
            (GrowingRatings(rated.select(~held_out_N)), GrowingRatings(rated.select(held_out_N))),
            np.array([first_of[rating.image_id] for rating in ratings], np.int64),
            word_sums([rated.taste_NR]),
            {rating.image_id: rating for rating in ratings},
            images,
        )

    def followed_by(
        self, log: FeedbackLog, base: BaseScorer, images: dict[UUID, ProjectedImage]
    ) -> KnownRatings | None:
        """With the newer events of a log that continues this one; None: it must be made anew.

        Args:
            log: that log.
            base: the base model that all images are projected by.
            images: all images of that log.
        """
        if log.head == self.log.head:
            return replace(self, log=log)
        newer, latest, replaced = log.events[len(self.log.events) :], dict(self.latest), set()
        for event in newer:
            before = latest.get(event.image_id)
            if before is not None:
                if event.answered_at < before.answered_at or not before.scores.keys() <= event.scores.keys():
                    return None
                replaced.add(before.sequence)
            latest[event.image_id] = only_rating(event)
        added = [latest[event.image_id] for event in newer if event.sequence not in replaced]
        kept, first_of = self._without(replaced)
        for event in newer:
            first_of.setdefault(event.image_id, event.sequence)
        rated, held_out_N = _rated_set(added, base, images), _held_out(added)
        training, held_out = kept.parts
        return KnownRatings(
            log,
            [*kept.ratings, *added],
            kept.all.followed_by(rated),
            (training.followed_by(rated.select(~held_out_N)), held_out.followed_by(rated.select(held_out_N))),
            np.append(kept.first_N, np.array([first_of[r.image_id] for r in added], np.int64)),
            np.concatenate([kept.taste_sum_N2, word_sums([rated.taste_NR])]),
            latest,
            images,
        )

    def _without(self, replaced: set[int]) -> tuple[KnownRatings, dict[UUID, int]]:
        """Without the ratings of these sequences, and the number of the first event on each of their images."""
        if not replaced:
            return self, {}
        is_kept_N = ~np.isin(self.all.rated.sequence_N, list(replaced))
        dropped = [rating.image_id for rating in self.ratings if rating.sequence in replaced]
        first_of = dict(zip(dropped, self.first_N[~is_kept_N].tolist(), strict=True))
        training, held_out = (part.select(~np.isin(part.rated.sequence_N, list(replaced))) for part in self.parts)
        kept = replace(
            self,
            ratings=[rating for rating in self.ratings if rating.sequence not in replaced],
            all=self.all.select(is_kept_N),
            parts=(training, held_out),
            first_N=self.first_N[is_kept_N],
            taste_sum_N2=self.taste_sum_N2[is_kept_N],
        )
        return kept, first_of

    @property
    def num_bytes(self) -> int:
        return len(self.ratings) * int(_RATING_BYTES + _NUM_COPIES * self.all.rated.taste_NR[:1].nbytes)


@dataclass(frozen=True, eq=False, slots=True)
class _Entry:
    known: KnownRatings
    of: tuple[str, tuple[float, ...] | None]  # base model and preference

    def is_of(self, of: tuple[str, tuple[float, ...] | None], log: FeedbackLog) -> bool:
        """Whether the log continues the known one."""
        return self.of == of and self.known.log.origin is log.origin and self.known.log.head <= log.head


class RatingsMemory:
    """Reads latest ratings and images of logs, and keeps them up to so many bytes."""

    def __init__(self, max_bytes: int = RATINGS_MB * 2**20) -> None:
        self._entries: SizedCache[UUID, _Entry] = SizedCache(max_bytes)

    def read(
        self,
        session: Session,
        projections: Projections,
        base: BaseScorer,
        preference: Sequence[float] | None,
        user_id: UUID,
        log: FeedbackLog,
    ) -> tuple[ReadImages, KnownRatings | None]:
        """The images of a log; and the ratings, where it is worth to keep them.

        Args:
            session: a read session.
            projections: where images are read.
            base: the base model.
            preference: what images are projected with; None: without one.
            user_id: whose log it is.
            log: as it was read.
        """
        of = base.digest, tuple(preference) if preference is not None else None
        if len(log.events) < _SHORTEST or log.exclusions or log.retractions or log.deleted:
            return projections.read(session, base, preference, log.image_ids()), None
        entry = self._entries.get_each([user_id])[0]
        before = entry.known if entry is not None and entry.is_of(of, log) else None
        images = before.images if before is not None else {}
        new_ids = {each for each in _newer(log, before).image_ids() if each not in images}
        read = projections.read(session, base, preference, new_ids)
        read = replace(read, images={**images, **read.images} if new_ids or before is None else images)
        if any(each not in read.images for each in new_ids):
            return read, None
        known = before.followed_by(log, base, read.images) if before is not None else None
        known = known or KnownRatings.of(log, base, read.images)
        self._entries.put(user_id, _Entry(known, of), known.num_bytes)
        return read, known


def _newer(log: FeedbackLog, before: KnownRatings | None) -> FeedbackLog:
    return log if before is None else log.since(before.log)


def _held_out(ratings: list[LatestRating]) -> np.ndarray:
    return np.array([rating.held_out for rating in ratings], np.bool_)


def _rated_set(ratings: list[LatestRating], base: BaseScorer, images: dict[UUID, ProjectedImage]) -> RatedSet:
    return arrays.rated_set(ratings, base.aspects, partial(inputs_of, base, images))
