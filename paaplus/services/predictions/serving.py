"""What predictions are made of: live adapters and projected images, kept in memory because neither ever changes.

Which version is live is asked of the database every time. Shape letters: D = features, R = taste space, A = aspects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import numpy as np

from paaplus.db.tables import BaseModelRow
from paaplus.db.tables.experts import MatchKind
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import Prior
from paaplus.services.predictions.cache import SizedCache

ENTRY_OVERHEAD_BYTES: Final = 400  # two array headers, a key, a place in the order
PROJECT_BATCH: Final = 1024  # images that are projected at once: bounds the memory, not the result

ImageKey = tuple[str, UUID, tuple[float, ...] | None]  # base model, image, the preference that it is seen with


@dataclass(frozen=True, slots=True)
class UsedPreference:
    """The preference that a user's generic scores are computed with.

    `version` counts the changes of the user's preference, None where a version of an adapter does not tell it.
    """

    values: tuple[float, ...]
    version: int | None


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """The version that is live for a user. `preference`: what its generic scores were computed with.

    `matched`: of a version that a match made and no training has touched, what it was matched with.
    """

    id: UUID
    number: int
    digest: str
    base_digest: str
    trained_at: datetime
    match_id: UUID | None = None
    preference: UsedPreference | None = None
    matched: MatchKind | None = None


@dataclass(frozen=True, slots=True)
class ProjectedImage:
    """One image as scoring sees it. `branches`: what its features were made of, None where nobody can tell."""

    taste_R: np.ndarray
    generic_A: np.ndarray
    branches: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """Enough to score some users and images without the database, all from one moment.

    An image is in `images` or, when it never can be scored, in `failed` with the reason; one that is in neither has
    no features yet.
    """

    base_model: BaseModelRow
    scorer: BaseScorer
    served: dict[UUID, ServedAdapter]  # by user
    adapters: dict[str, Adapter]  # by digest; only those for this base model
    priors: dict[str, Prior]  # by digest: those that the adapters started from, as far as they are still there
    images: dict[UUID, ProjectedImage]  # as nobody in particular sees them
    failed: dict[UUID, str]
    preferences: dict[UUID, UsedPreference] = field(default_factory=dict)  # by user: only those that count here
    features: dict[UUID, np.ndarray] = field(default_factory=dict)  # of the images, if anybody has a preference
    own_images: SizedCache[ImageKey, ProjectedImage] = field(default_factory=lambda: SizedCache(0))

    def images_of(self, user_id: UUID, image_ids: Sequence[UUID]) -> list[ProjectedImage]:
        """Images of `images` as this user's generic score sees them: with their preference, where one counts."""
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
        """The user's live adapter, None if there is none for this base model."""
        served = self.served.get(user_id)
        return self.adapters.get(served.digest) if served is not None else None


def projected(
    scorer: BaseScorer,
    image_ids: Sequence[UUID],
    features: Mapping[UUID, np.ndarray],
    preference: tuple[float, ...] | None = None,
) -> Iterator[tuple[UUID, ProjectedImage]]:
    """Images as somebody with this preference sees them; None: nobody in particular."""
    for start in range(0, len(image_ids), PROJECT_BATCH):
        batch = image_ids[start : start + PROJECT_BATCH]
        taste_BR = scorer.project(np.stack([features[image_id] for image_id in batch]), preference)
        for image_id, taste_R, generic_A in zip(batch, taste_BR, scorer.generic(taste_BR), strict=True):
            branches = scorer.heads.used_branches(features[image_id]) if scorer.heads is not None else None
            # copies: a view would keep the whole batch alive
            yield image_id, ProjectedImage(taste_R.copy(), generic_A.copy(), branches)


def size_bytes(image: ProjectedImage) -> int:
    return image.taste_R.nbytes + image.generic_A.nbytes + ENTRY_OVERHEAD_BYTES
