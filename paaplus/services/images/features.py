"""Stored features of images as arrays.

Shape letters: D = feature dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import numpy as np

from paaplus.errors import InvalidInput


def usable_features(rows: Iterable[tuple[UUID, bytes | None]], feature_dim: int) -> dict[UUID, np.ndarray]:
    """Features by image id, without the images whose features cannot be scored.

    Args:
        rows: image id and `FeaturesRow.data`.
        feature_dim: the base model's.
    """
    usable = {}
    for image_id, data in rows:
        try:
            usable[image_id] = features_of(data, None, feature_dim)
        except InvalidInput:
            continue
    return usable


def features_of(data: bytes | None, error: str | None, feature_dim: int) -> np.ndarray:
    """One image's features, shape (D,), float16.

    Args:
        data: `FeaturesRow.data`; None: the extractor failed on this image.
        error: `FeaturesRow.error`, why it failed.
        feature_dim: D.

    Raises:
        InvalidInput: the image cannot be scored: no features, another number of them, or NaN or infinity among them.
    """
    if data is None:
        raise InvalidInput(error or "no features")
    if len(data) != feature_dim * np.dtype(np.float16).itemsize:
        raise InvalidInput(f"its features are {len(data)} bytes, not {feature_dim} float16 numbers")
    features_D = np.frombuffer(data, np.float16)
    if not np.isfinite(features_D).all():
        raise InvalidInput("its features are not finite")
    return features_D
