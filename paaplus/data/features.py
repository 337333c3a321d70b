"""Features of a data folder's images, cached on disk by extractor digest, decoder and image content.

Shape letters: I = images, D = feature dim.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.image_files import DECODER, decode_image
from paaplus.models.extractor import Extractor
from paaplus.scoring.tensors import pack, unpack


def folder_features(
    folder: DataFolder,
    extractor: Extractor,
    cache_dir: Path,
    batch_size: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
    known: Callable[[str], np.ndarray | None] = lambda sha256: None,
) -> np.ndarray:
    """Features of `folder.images` in their order, shape (I, D), float16.

    Each batch is cached as soon as it is computed, so a call after an interruption continues where it stopped.

    Args:
        folder: the data folder.
        extractor: computes the features.
        cache_dir: folder of the cache; one small file per image.
        batch_size: images per batch.
        progress: called with the number of images done and the total.
        known: features of the file with this SHA-256, which are used as they are; None: they are not known.

    Raises:
        InvalidInput: an image file cannot be read.
    """
    extractor_dir = cache_dir / f"{extractor.digest}-{DECODER}"
    extractor_dir.mkdir(parents=True, exist_ok=True)
    features_ID = np.empty((len(folder.images), extractor.feature_dim), np.float16)
    pending: list[tuple[int, Path, Image.Image]] = []
    done = 0
    progress(done, len(folder.images))
    for i, name in enumerate(folder.images):
        data = folder.image_path(name).read_bytes()
        sha256 = sha256_hex(data)
        file = extractor_dir / f"{sha256}.safetensors"
        found_D = known(sha256)
        if found_D is None:
            found_D = _read(file, extractor.feature_dim)
        if found_D is not None:
            features_ID[i] = found_D
            done += 1
        else:
            try:
                pending.append((i, file, decode_image(data)))
            except InvalidInput as error:
                raise InvalidInput(
                    f"{folder.image_path(name)}: {error}; the features of {done} images are kept"
                ) from error
        if pending and (len(pending) == batch_size or i == len(folder.images) - 1):
            features_BD = extractor.extract([image for _, _, image in pending])
            for (position, target, _), feature_D in zip(pending, features_BD, strict=True):
                features_ID[position] = feature_D
                _write(target, feature_D)
            done += len(pending)
            pending = []
        progress(done, len(folder.images))
    return features_ID


def _read(file: Path, feature_dim: int) -> np.ndarray | None:
    """Cached features; None if there are none, or if the file is damaged or of another size."""
    try:
        arrays, _ = unpack(file.read_bytes())
    except (FileNotFoundError, InvalidInput):
        return None
    feature_D = arrays.get("feature_D")
    if feature_D is None or feature_D.shape != (feature_dim,) or feature_D.dtype != np.float16:
        return None
    return feature_D


def _write(file: Path, feature_D: np.ndarray) -> None:
    """Write atomically: another process reads the whole file or none."""
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(pack({"feature_D": feature_D}))
    temporary.replace(file)
