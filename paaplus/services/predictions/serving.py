"""Everything that scoring needs in memory: the base model, active adapters and projected images.

Shape letters: B = images of a batch, D = feature dimensions, R = taste dimensions, A = aspects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final, Literal, NamedTuple
from uuid import UUID

import numpy as np

from paaplus.db.raw_values import microseconds
from paaplus.db.tables import BaseModelRow
from paaplus.db.tables.experts import MatchKind
from paaplus.errors import Damaged
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import Prior
from paaplus.services.predictions.cache import SizedCache

ENTRY_OVERHEAD_BYTES: Final = 400  # of a cache entry: two array headers, a key, a place in the order
PROJECT_BATCH: Final = 1024  # images projected at once: bounds the memory; results do not depend on it

ImageKey = tuple[str, UUID, tuple[float, ...] | None]  # digest of the base model, image, preference


@dataclass(frozen=True, slots=True)
class UsedPreference:
    """The preference that a user's generic scores are computed with.

    `version` counts the changes of the user's preference; None: an adapter version did not record it.
    """

    values: tuple[float, ...]
    version: int | None


Source = Literal["adapter", "match", "base"]
SourceReason = Literal[
    "active_adapter",
    "matched_generic",
    "matched_expert",
    "matched_combination",
    "no_adapter",
    "adapter_of_another_base_model",
]
_MATCHED: Final[dict[MatchKind, SourceReason]] = {
    MatchKind.GENERIC: "matched_generic",
    MatchKind.EXPERT: "matched_expert",
    MatchKind.COMBINATION: "matched_combination",
}


NO_VERSION_TEXT: Final = '"source":"base","source_reason":"%s","adapter":null'


class AnswerParts(NamedTuple):
    """What every answer says of a user, made once. Texts are JSON.

    Args:
        user: the user's id.
        adapter: where the scores come from and why, and a `ServedAdapterOut` up to its age, if there is one.
        match: the id of the match.
        trained_us: when the version was trained, in microseconds since 1970.
        user_bytes, version_bytes: ids, for receipts.
    """

    user: str
    adapter: str
    match: str
    trained_us: int
    user_bytes: bytes
    version_bytes: bytes


@dataclass(frozen=True)
class ServedAdapter:
    """A user's active version. `preference`: its generic scores were computed with it.

    `matched`: the kind of match, if a match made this version; None: a training made it.
    """

    user_id: UUID
    id: UUID
    number: int
    digest: str
    base_digest: str
    trained_at: datetime
    match_id: UUID | None = None
    preference: UsedPreference | None = None
    matched: MatchKind | None = None

    @cached_property
    def source(self) -> tuple[Source, SourceReason]:
        """Where its scores come from, and why."""
        return source_of_match(self.matched)

    @cached_property
    def parts(self) -> AnswerParts:
        # Ids, digests, numbers, times and the words of `source` have no character that JSON would read.
        trained_at = self.trained_at.isoformat().replace("+00:00", "Z")
        source, reason = self.source
        return AnswerParts(
            f'"{self.user_id}"',
            f'"source":"{source}","source_reason":"{reason}","adapter":{{"id":"{self.id}","number":{self.number},'
            f'"digest":"{self.digest}","trained_at":"{trained_at}","age_s":',
            "null" if self.match_id is None else f'"{self.match_id}"',
            microseconds(self.trained_at),
            self.user_id.bytes,
            self.id.bytes,
        )


def source_of_match(matched: MatchKind | None) -> tuple[Source, SourceReason]:
    """Where the scores of a version come from, and why; None: a training made it."""
    return ("adapter", "active_adapter") if matched is None else ("match", _MATCHED[matched])


class ServedVersion(NamedTuple):
    """What is cached of a version. `adapter`: None if it is for another base model, or damaged."""

    facts: ServedAdapter
    adapter: Adapter | None


@dataclass(frozen=True, slots=True)
class ProjectedImage:
    """One image in taste space. `branches`: parts of the network that gave its features; None: unknown."""

    taste_R: np.ndarray
    generic_A: np.ndarray
    branches: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """Everything needed to score some users and images without the database, from one moment.

    An image that can be scored is in `images`. One that never can is in `failed`, with the reason. One that is in
    neither has no features yet, or they are damaged (then it is in `damaged`).
    """

    base_model: BaseModelRow
    scorer: BaseScorer
    user_ids: list[UUID]  # in the order asked
    versions: dict[UUID, ServedVersion]  # by user
    priors: dict[str, Prior]  # by digest: those that the adapters started from, if they still exist
    images: dict[UUID, ProjectedImage]  # projected without a user preference
    failed: dict[UUID, str]
    preferences: dict[UUID, UsedPreference] = field(default_factory=dict)  # by user: those that change scores
    features: dict[UUID, np.ndarray] = field(default_factory=dict)  # of the images, if any user has a preference
    damaged: list[UUID] = field(default_factory=list)  # images whose stored features have changed
    damaged_adapters: dict[UUID, str] = field(default_factory=dict)  # by user: what is wrong with the active version
    own_images: SizedCache[ImageKey, ProjectedImage] = field(default_factory=lambda: SizedCache(0))

    def images_of(self, user_id: UUID, image_ids: Sequence[UUID]) -> list[ProjectedImage]:
        """Images of `images`, projected with the user's preference if it changes scores."""
        preference = self.preferences.get(user_id)
        if preference is None:
            return [self.images[image_id] for image_id in image_ids]
        keys = {(self.scorer.digest, image_id, preference.values): image_id for image_id in image_ids}
        known = self.own_images.get_many(keys)
        missing = [image_id for key, image_id in keys.items() if key not in known]
        for image_id, image in projected(self.scorer, missing, self.features, preference.values):
            key = self.scorer.digest, image_id, preference.values
            known[key] = image
            self.own_images.put(key, image, size_bytes(image))
        return [known[self.scorer.digest, image_id, preference.values] for image_id in image_ids]

    def adapter_of(self, user_id: UUID) -> Adapter | None:
        """The user's active adapter; None: there is none for this base model.

        Raises:
            Damaged: its stored bytes cannot be used. The generic scores are no substitute: the user has an adapter.
        """
        if user_id in self.damaged_adapters:
            raise Damaged(self.damaged_adapters[user_id])
        version = self.versions.get(user_id)
        return version.adapter if version is not None else None


def projected(
    scorer: BaseScorer,
    image_ids: Sequence[UUID],
    features: Mapping[UUID, np.ndarray],
    preference: tuple[float, ...] | None = None,
) -> Iterator[tuple[UUID, ProjectedImage]]:
    """Project images with a preference; None: without one."""
    for start in range(0, len(image_ids), PROJECT_BATCH):
        batch = image_ids[start : start + PROJECT_BATCH]
        taste_BR = scorer.project(np.stack([features[image_id] for image_id in batch]), preference)
        for image_id, taste_R, generic_A in zip(batch, taste_BR, scorer.generic(taste_BR), strict=True):
            branches = scorer.heads.used_branches(features[image_id]) if scorer.heads is not None else None
            # Copies, because a view would keep the whole batch in memory.
            yield image_id, ProjectedImage(taste_R.copy(), generic_A.copy(), branches)


def size_bytes(image: ProjectedImage) -> int:
    return image.taste_R.nbytes + image.generic_A.nbytes + ENTRY_OVERHEAD_BYTES
