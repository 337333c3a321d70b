"""Fit a base model to a data folder: features from the cache or the extractor, then a fit to the ratings."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from paaplus.csv_files import STANDARD, CsvFormat
from paaplus.data.features import folder_features
from paaplus.data.folder import DEFAULT_ASPECT, DataFolder, read_folder
from paaplus.data.readable_images import readable_images
from paaplus.models.base_fit import Ratings, check_rated_images, fit_base_scorer
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
    layout: CsvFormat = STANDARD,
    strict: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    known: Callable[[str], np.ndarray | None] = lambda sha256: None,
) -> tuple[BaseScorer, dict[str, Any]]:
    """Fit a base model to the features and ratings of a data folder. Only features are stored, in the cache.

    Args:
        extractor: computes the features of the folder's images.
        data: the folder, see `paaplus.data.folder`.
        name: of the base model.
        cache_dir: cache of features, for all folders and extractors.
        people: user_ids whose ratings are used; None: everybody's.
        images: images whose ratings are used; None: all.
        scale: smallest and largest possible rating; None: those in the folder.
        aspect: the aspect of a column named `rating`.
        seed: for folds and samples.
        layout: delimiter and decimal mark of the folder's tables.
        strict: refuse what is skipped with a warning otherwise.
        progress: called with the number of images that have features and the number of all.
        known: features of the file with this SHA-256, which are used as they are; None: they are not known.

    Returns:
        The base model and its metrics: the size of the data, held-out SRCC, priors and seconds.

    Raises:
        InvalidInput: the folder, the names or the scale are wrong, or there are too few images.

    Warns:
        SmallDataWarning: fitted to very little data.
    """
    folder = read_folder(data, Scale(*scale) if scale else None, aspect, layout=layout, strict=strict)
    folder = readable_images(folder.only(people, images), strict=strict)
    check_rated_images(_ratings(folder), folder.scene_I)  # before hours of features
    features_ID = folder_features(folder, extractor, cache_dir, progress=progress, known=known)
    extracted_I = np.isfinite(features_ID).all(axis=1)  # an extractor may refuse an image without a person
    if not extracted_I.all():
        kept = [image for image, extracted in zip(folder.images, extracted_I, strict=True) if extracted]
        folder, features_ID = folder.only(images=kept), features_ID[extracted_I]
    started = time.perf_counter()
    scorer, metrics = fit_base_scorer(
        name,
        extractor.digest,
        features_ID,
        _ratings(folder),
        group_I=folder.scene_I,
        seed=seed,
        blocks=extractor.blocks,
        heads=extractor.heads if isinstance(extractor, BringsHeads) else None,
    )
    metrics.update(
        num_scenes=folder.num_scenes,
        num_refused_images=int((~extracted_I).sum()),
        scale=[folder.scale.minimum, folder.scale.maximum],
        fit_seconds=round(time.perf_counter() - started, 2),
    )
    return scorer, metrics


def _ratings(folder: DataFolder) -> Ratings:
    return Ratings(folder.aspects, folder.person_N, folder.image_N, folder.score_NA)
