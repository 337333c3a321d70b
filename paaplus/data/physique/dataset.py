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
from paaplus.image_files import decode_image
from paaplus.models.physiqueframe.inputs import letterbox
from paaplus.models.physiqueframe.network.config import FrameConfig
from paaplus.models.physiqueframe.sample import Inputs, Sample, collate_samples, find_neighbours

_CACHE_BYTES = 2 * 2**30  # about 1,000 rows of full size; a miniature fits as a whole


@dataclass(frozen=True, eq=False)
class RatedSample:
    """One row: the network's input, the preference and the scores (0-10) that people gave."""

    sample: Sample
    preference_P: np.ndarray
    truth_A: np.ndarray

    def flipped(self) -> Self:
        """The same row, mirrored left to right."""
        return replace(self, sample=self.sample.flipped())


@dataclass(frozen=True, eq=False)
class RatedBatch:
    """A batch of rows in the network's form."""

    inputs: Inputs
    preference_BP: Tensor
    truth_BA: Tensor

    def to(self, device: str) -> Self:
        """The same batch on a device."""
        return type(self)(self.inputs.to(device), self.preference_BP.to(device), self.truth_BA.to(device))


class PhysiqueDataset(Dataset):
    """The rows of a split as samples; `collate_rated` makes batches of them. Samples are cached up to 2 GiB."""

    def __init__(self, rows: PhysiqueRows, meshes: MeshStore | None, config: FrameConfig) -> None:
        """Create the data set; no image is read yet.

        Args:
            rows: the rows of a split.
            meshes: the bodies of the images; for `None`, and for an image that it lacks, a sample has no joints and no
                mesh.
            config: sizes of the network.
        """
        self.rows = rows
        self._config = config
        self._meshes = meshes
        self._cache: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> RatedSample:
        """One row.

        Raises:
            InvalidInput: the image, or its mesh, cannot be read.
        """
        if row not in self._cache:
            sample = self._read_sample(row)
            if (len(self._cache) + 1) * _size_bytes(sample) > _CACHE_BYTES:
                return self._rated(row, sample)
            self._cache[row] = sample
        return self._rated(row, self._cache[row])

    def _rated(self, row: int, sample: Sample) -> RatedSample:
        return RatedSample(sample, self.rows.preference_NP[row], self.rows.score_NA[row])

    def _read_sample(self, row: int) -> Sample:
        image = self.rows.images[row]
        try:
            photo = decode_image(self.rows.image_path(image).read_bytes())
            pixel_3SS, _ = letterbox(photo, self._config.image_size)
        except (InvalidInput, OSError) as error:
            raise InvalidInput(f"{self.rows.file}, line {self.rows.line_N[row]}: {image}: {error}") from error
        body = self._meshes.get(image) if self._meshes is not None else None
        sample = sample_of(pixel_3SS, body)
        return sample if body is None else replace(sample, neighbours=find_neighbours(body.vertices_V3, self._config))


def _size_bytes(sample: Sample) -> int:
    arrays = [] if sample.vertices_V3 is None else [sample.vertices_V3]
    if sample.neighbours is not None:
        arrays += [*sample.neighbours.anchors, *sample.neighbours.neighbours]
    return sample.pixel_3SS.nbytes + sum(array.nbytes for array in arrays)


def sample_of(pixel_3SS: Tensor, body: CachedBody | None) -> Sample:
    """A sample from a letterboxed picture, shape (3, S, S), and its stored body, or without a body."""
    if body is None:
        return Sample(pixel_3SS, None, None, None)
    return Sample(pixel_3SS, body.joints_K2 * (pixel_3SS.shape[-1] / JOINT_SIZE_PX), body.vertices_V3, None)


def collate_rated(samples: Sequence[RatedSample], config: FrameConfig) -> RatedBatch:
    """Samples as one batch.

    Raises:
        InvalidInput: the meshes have different numbers of vertices.
    """
    return RatedBatch(
        collate_samples([sample.sample for sample in samples], config),
        torch.from_numpy(np.stack([sample.preference_P for sample in samples])),
        torch.from_numpy(np.stack([sample.truth_A for sample in samples])),
    )
