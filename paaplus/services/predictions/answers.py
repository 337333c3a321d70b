"""Answers of predictions: what was asked, and what was found, by user and item by item.

Shape letters: N = items, A = aspects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, overload
from uuid import UUID

import numpy as np

from paaplus.db.tables import BaseModelRow
from paaplus.services.predictions.confidence import Confidence
from paaplus.services.predictions.served_records import ServedUsers
from paaplus.services.predictions.serving import ProjectedImage, ServedAdapter, Source, SourceReason, UsedPreference


@dataclass(frozen=True, slots=True)
class Target:
    """An existing user and image that the caller may see."""

    user_id: UUID
    image_id: UUID


# What a call asks of one user: the user's reference, or the id that was found; ids of images; places of these items in
# the answer. Users who are asked for the same images may share one list.
Asked = tuple[Any, Sequence[UUID], Sequence[int]]


def by_user(pairs: Sequence[tuple[Any, UUID]]) -> list[Asked]:
    """(user, image) pairs of an answer, in order, by user."""
    users, image_ids = zip(*pairs, strict=True) if pairs else ((), ())
    if len(set(users)) == len(pairs):  # most calls of many users have one item for each
        lists = {key: [image_id] for key, image_id in dict(zip(map(id, image_ids), image_ids, strict=True)).items()}
        return list(zip(users, map(lists.__getitem__, map(id, image_ids)), zip(range(len(pairs))), strict=True))
    found: dict[Any, tuple[Any, list[UUID], list[int]]] = {}
    for place, (user, image_id) in enumerate(pairs):
        asked = found.get(user)
        if asked is None:
            found[user] = asked = (user, [], [])
        asked[1].append(image_id)
        asked[2].append(place)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction. Scores are 0-10 by aspect, None unless `status` is "scored".

    `source` is where the scores come from: "adapter" a trained version, "match" a version that a match made, "base"
    the base model. `source_reason` gives the details. An adapter for another base model is not used.
    """

    user_id: UUID
    image_id: UUID
    status: Literal["scored", "pending", "failed"]
    scores: dict[str, float] | None = None
    generic: dict[str, float] | None = None
    source: Source | None = None
    source_reason: SourceReason | None = None
    adapter: ServedAdapter | None = None
    preference: UsedPreference | None = None  # generic scores were computed with it; None: without one
    branches: tuple[str, ...] | None = None  # parts of the network that gave the features; None: unknown
    confidence: Confidence | None = None  # None also if it was not requested
    receipt: str | None = None
    job_id: UUID | None = None
    retry_after_s: int | None = None
    error: str | None = None


@dataclass(slots=True)
class UserScores:
    """The scored items of one user in one answer; all have one source.

    Args:
        places: of each item in the answer.
        images: of each item, in taste space.
        score_NA, generic_NA: personal and generic scores, as Python's numbers.
        receipts: of each item; None: none were asked for.
        confidences: of each item; None: not asked for, or the adapter has none.
    """

    user_id: UUID
    source: Source
    source_reason: SourceReason
    adapter: ServedAdapter | None
    preference: UsedPreference | None
    places: Sequence[int]
    image_ids: Sequence[UUID]
    images: list[ProjectedImage]
    score_NA: list[list[float]]
    generic_NA: list[list[float]]
    receipts: list[str] | None = None
    confidences: list[Confidence] | None = None


class ScoredColumns(Sequence[UserScores]):
    """The scored items of an answer as columns, in the order of its users; objects by user are made when they are asked
    for.

    Args:
        users: of each user, what serves it.
        asked_U: of each user, what was asked.
        image_of: images in taste space, by id.
        score_NA, generic_NA: personal and generic scores, float32.
        receipts_N: of each item; None: none were asked for.
    """

    def __init__(
        self,
        users: ServedUsers,
        asked_U: Sequence[Asked],
        image_of: Mapping[UUID, ProjectedImage],
        score_NA: np.ndarray,
        generic_NA: np.ndarray,
    ) -> None:
        self.users, self.asked_U, self.image_of = users, asked_U, image_of
        self.score_NA, self.generic_NA = score_NA, generic_NA
        self.receipts_N: list[str] | None = None
        self._made: list[UserScores] | None = None

    def __len__(self) -> int:
        return len(self.users)

    @overload
    def __getitem__(self, place: int) -> UserScores: ...
    @overload
    def __getitem__(self, place: slice) -> list[UserScores]: ...
    def __getitem__(self, place: int | slice) -> UserScores | list[UserScores]:
        if self._made is None:
            self._made = list(self._users())
        return self._made[place]

    def _users(self) -> Iterator[UserScores]:
        scores, generic, receipts = self.score_NA.tolist(), self.generic_NA.tolist(), self.receipts_N
        start = 0
        for number, (_, image_ids, places) in enumerate(self.asked_U):
            end = start + len(places)
            yield UserScores(
                self.users.user_id(number),
                *self.users.source(number),
                self.users.facts(number),
                None,
                places,
                image_ids,
                [self.image_of[image_id] for image_id in image_ids],
                scores[start:end],
                generic[start:end],
                receipts[start:end] if receipts is not None else None,
            )
            start = end


@dataclass(frozen=True)
class Answer:
    """All predictions of one call, and the base model that scored them.

    Args:
        base_model: its row.
        num_items: of the call.
        scored: by user.
        unscored: by place, items that are pending or failed.
        is_plain: no scored item has a preference, a confidence or branches.
    """

    base_model: BaseModelRow
    num_items: int
    scored: Sequence[UserScores]
    unscored: dict[int, Prediction]
    is_plain: bool = False

    @property
    def columns(self) -> ScoredColumns | None:
        """The scored items as columns, if they were made so; they are plain then."""
        return self.scored if isinstance(self.scored, ScoredColumns) else None

    @cached_property
    def items(self) -> list[Prediction]:
        """The predictions one by one, in the order asked."""
        by_place = dict(self.unscored)
        for user in self.scored:
            by_place.update(zip(user.places, _predictions(user, self.base_model.aspects), strict=True))
        return [by_place[place] for place in range(self.num_items)]

    def num_by_source(self) -> dict[Source, int]:
        """How many items were scored, by where their scores come from."""
        found: dict[Source, int] = {}
        columns = self.columns
        if columns is not None:
            pairs: Iterable[tuple[Source, Sequence[int]]] = zip(
                columns.users.sources(), [places for _, _, places in columns.asked_U], strict=True
            )
        else:
            pairs = [(user.source, user.places) for user in self.scored]
        for source, places in pairs:
            found[source] = found.get(source, 0) + len(places)
        return found

    @property
    def num_pending(self) -> int:
        return sum(item.status == "pending" for item in self.unscored.values())


def source_of(served: ServedAdapter | None, is_personal: bool) -> tuple[Source, SourceReason]:
    """Where a user's scores come from, and why: `is_personal` if the active version is for the base model."""
    if served is None:
        return "base", "no_adapter"
    if not is_personal:
        return "base", "adapter_of_another_base_model"
    return served.source


def _predictions(user: UserScores, aspects: Sequence[str]) -> Iterator[Prediction]:
    for n, image_id in enumerate(user.image_ids):
        yield Prediction(
            user.user_id,
            image_id,
            "scored",
            scores=dict(zip(aspects, user.score_NA[n], strict=True)),
            generic=dict(zip(aspects, user.generic_NA[n], strict=True)),
            source=user.source,
            source_reason=user.source_reason,
            adapter=user.adapter,
            preference=user.preference,
            branches=user.images[n].branches,
            confidence=user.confidences[n] if user.confidences is not None else None,
            receipt=user.receipts[n] if user.receipts is not None else None,
        )
