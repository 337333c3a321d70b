"""Fit a base model on a data folder: features from the cache or the extractor, then everything learned from ratings."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from paaplus.data.features import folder_features
from paaplus.data.folder import DEFAULT_ASPECT, read_folder
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.models.extractor import BringsHeads, Extractor
from paaplus.records import Scale
from paaplus.scoring.base_scorer import BaseScorer


def fit_base_model(
    extractor: Extractor,
    data: Path,
    *,
    name: str,
    cache_dir: Path,
    people: Collection[str] | None = None,
    images: Collection[str] | None = None,
    scale: tuple[float, float] | None = None,
    aspect: str = DEFAULT_ASPECT,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[BaseScorer, dict[str, Any]]:
    """A base model that stands on an extractor and the ratings of a data folder. Nothing is stored but features.

    Args:
        extractor: computes the features of the folder's images.
        data: the folder, see `paaplus.data.folder`.
        name: of the base model.
        cache_dir: of features, shared by every folder and extractor.
        people: only their ratings are used; None: everybody's.
        images: only ratings of these are used; None: all.
        scale: smallest and largest rating that people could give; None: as found in the folder.
        aspect: name of what a lone column `rating` rates.
        seed: of folds and samples.
        progress: told how many images have features, of how many.

    Returns:
        The base model and its metrics: what it was fitted on, held-out SRCC, priors and seconds.

    Raises:
        InvalidInput: the folder, the names or the scale are wrong; or too few images are left.

    Warns:
        SmallDataWarning: fitted, but on very little.
    """
    folder = read_folder(data, Scale(*scale) if scale else None, aspect).only(people, images)
    features_ID = folder_features(folder, extractor, cache_dir, progress=progress)
    seen_I = np.isfinite(features_ID).all(axis=1)  # an extractor may refuse an image: nobody is in it
    if not seen_I.all():
        kept = [image for image, seen in zip(folder.images, seen_I, strict=True) if seen]
        folder, features_ID = folder.only(images=kept), features_ID[seen_I]
    started = time.perf_counter()
    scorer, metrics = fit_base_scorer(
        name,
        extractor.digest,
        features_ID,
        Ratings(folder.aspects, folder.person_N, folder.image_N, folder.score_NA),
        group_I=folder.scene_I,
        seed=seed,
        blocks=extractor.blocks,
        heads=extractor.heads if isinstance(extractor, BringsHeads) else None,
    )
    metrics.update(
        num_scenes=folder.num_scenes,
        num_refused_images=int((~seen_I).sum()),
        scale=[folder.scale.minimum, folder.scale.maximum],
        fit_seconds=round(time.perf_counter() - started, 2),
    )
    return scorer, metrics
