"""Rows of a PhysiqueAA50K split as samples and batches for training.

Shape letters: B = images, P = preference values, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from paaplus.data.physique.meshes import JOINT_SIZE_PX, CachedBody, MeshStore
from paaplus.data.physique.reader import PhysiqueRows
from paaplus.errors import InvalidInput
from paaplus.models.images import decode_image
from paaplus.models.physiqueframe.inputs import letterbox
from paaplus.models.physiqueframe.network.config import FrameConfig
from paaplus.models.physiqueframe.sample import Inputs, Sample, collate_samples, find_neighbours

_KEPT_BYTES = 2 * 2**30  # about 1,000 rows of full size; a miniature fits as a whole


@dataclass(frozen=True, eq=False)
class RatedSample:
    """One row: what is seen, for which preference, and what people said."""

    seen: Sample
    preference_P: np.ndarray
    truth_A: np.ndarray

    def flipped(self) -> Self:
        return replace(self, seen=self.seen.flipped())


@dataclass(frozen=True, eq=False)
class RatedBatch:
    """Rows as the network takes them."""

    inputs: Inputs
    preference_BP: Tensor
    truth_BA: Tensor

    def to(self, device: str) -> Self:
        """The same on a device."""
        return type(self)(self.inputs.to(device), self.preference_BP.to(device), self.truth_BA.to(device))


class PhysiqueDataset(Dataset):
    """Rows as samples; `collate_rated` makes batches of them."""

    def __init__(self, rows: PhysiqueRows, meshes: MeshStore | None, config: FrameConfig) -> None:
        """Nothing is read yet.

        Args:
            rows: which images.
            meshes: their bodies; None, or an image that it does not have: seen without joints and mesh.
            config: sizes of the network.
        """
        self.rows = rows
        self._config = config
        self._meshes = meshes
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> RatedSample:
        """One row.

        Raises:
            InvalidInput: the image, or its mesh, cannot be read.
        """
        if row not in self._kept:
            seen = self._seen(row)
            if (len(self._kept) + 1) * _size_bytes(seen) > _KEPT_BYTES:
                return self._rated(row, seen)
            self._kept[row] = seen
        return self._rated(row, self._kept[row])

    def _rated(self, row: int, seen: Sample) -> RatedSample:
        return RatedSample(seen, self.rows.preference_NP[row], self.rows.score_NA[row])

    def _seen(self, row: int) -> Sample:
        image = self.rows.images[row]
        try:
            photo = decode_image(self.rows.image_path(image).read_bytes())
            pixel_3SS, _ = letterbox(photo, self._config.image_size)
        except (InvalidInput, OSError) as error:
            raise InvalidInput(f"{self.rows.file}, line {self.rows.line_N[row]}: {image}: {error}") from error
        body = self._meshes.get(image) if self._meshes is not None else None
        seen = sample_of(pixel_3SS, body)
        return seen if body is None else replace(seen, neighbours=find_neighbours(body.vertices_V3, self._config))


def _size_bytes(sample: Sample) -> int:
    arrays = [] if sample.vertices_V3 is None else [sample.vertices_V3]
    if sample.neighbours is not None:
        arrays += [*sample.neighbours.anchors, *sample.neighbours.neighbours]
    return sample.pixel_3SS.nbytes + sum(array.nbytes for array in arrays)


def sample_of(pixel_3SS: Tensor, body: CachedBody | None) -> Sample:
    """A letterboxed picture with its stored body, whose joints are in pixels of a square of 224."""
    if body is None:
        return Sample(pixel_3SS, None, None, None)
    return Sample(pixel_3SS, body.joints_K2 * (pixel_3SS.shape[-1] / JOINT_SIZE_PX), body.vertices_V3, None)


def collate_rated(samples: Sequence[RatedSample], config: FrameConfig) -> RatedBatch:
    """Samples as one batch.

    Raises:
        InvalidInput: meshes of different sizes.
    """
    return RatedBatch(
        collate_samples([sample.seen for sample in samples], config),
        torch.from_numpy(np.stack([sample.preference_P for sample in samples])),
        torch.from_numpy(np.stack([sample.truth_A for sample in samples])),
    )
