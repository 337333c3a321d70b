"""Score photographs: find the person and the mesh, run the network, and report the branches that were used.

Shape letters: B = photographs, D = features, P = preference values.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.body.finder import BodyFinder, FoundBody
from paaplus.models.physiqueframe.body.person import Person
from paaplus.models.physiqueframe.inputs import letterbox
from paaplus.models.physiqueframe.network.config import ASPECTS
from paaplus.models.physiqueframe.network.frame import BRANCHES, PhysiqueFrame
from paaplus.models.physiqueframe.sample import Sample, collate_samples

NEUTRAL_PREFERENCE = 0.5
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_GPU_BATCH, _CPU_BATCH = 16, {"float32": 1, "bfloat16": 4}  # measured by benchmarks/physiqueframe.py


@dataclass(frozen=True, eq=False)
class PhysiqueScore:
    """The result of one photograph.

    Attributes:
        status: a `PersonStatus`, or another origin of the body that the caller names.
        num_people: people found.
        scores: aspect -> 0-10; None if there is not exactly one person to score, `status` gives the reason.
        branches: the branches that were used; fewer than image, posture and mesh make a degraded score.
    """

    status: str
    num_people: int
    scores: dict[str, float] | None = None
    branches: tuple[str, ...] = ()

    @property
    def is_degraded(self) -> bool:
        """True if there are scores and a branch was not used."""
        return self.scores is not None and len(self.branches) < len(BRANCHES)


class PhotographScorer:
    """Scores photographs with PhysiqueFrame.

    On a CPU in float32, photographs go through the network one at a time: batches are not faster there, and a
    photograph's bits do not depend on the others.
    """

    def __init__(
        self,
        network: PhysiqueFrame,
        finder: BodyFinder,
        device: str = "cpu",
        *,
        precision: str = "float32",
        batch_size: int | None = None,
    ) -> None:
        """Create a scorer.

        Args:
            network: the network.
            finder: finds people and meshes.
            device: `cpu`, `cuda` or `cuda:N`.
            precision: of the network's matrix products, a name of `PRECISIONS`; heads always run in float32.
            batch_size: photographs per batch; None: 16 on a GPU, 1 on a CPU, 4 on a CPU in bfloat16.

        Raises:
            InvalidInput: an unknown precision, or a batch size below 1.
        """
        if precision not in PRECISIONS:
            raise InvalidInput(f"precision {precision!r}; known: {sorted(PRECISIONS)}")
        if batch_size is not None and batch_size < 1:
            raise InvalidInput(f"batch size {batch_size}: 1 or more")
        self.network = network.eval().to(device)
        self.finder = finder
        self.device = device
        self.precision = precision
        self.batch_size = batch_size or (_GPU_BATCH if device.startswith("cuda") else _CPU_BATCH[precision])

    def score(
        self,
        photo: Image.Image,
        people: Sequence[Person] | None = None,
        preference_P: np.ndarray | None = None,
    ) -> PhysiqueScore:
        """Score an upright photo.

        Args:
            photo: upright, RGB.
            people: people that the caller knows; None: those that the detector finds, if there is a detector.
            preference_P: the user's preference values; None: the neutral value 0.5 for each.

        Raises:
            InvalidInput: people or a preference of another form, or a photo that is too long and thin.
        """
        body = self.finder.find(photo, people)
        if not body.may_be_scored:
            return PhysiqueScore(body.status, body.num_people)
        return self.score_sample(self._sample(photo, body), body.status, body.num_people, preference_P)

    def score_sample(
        self, sample: Sample, status: str, num_people: int = 1, preference_P: np.ndarray | None = None
    ) -> PhysiqueScore:
        """Score a photo whose body is known; the result has the given `status`.

        Raises:
            InvalidInput: a preference of another form.
        """
        dim = self.network.config.preference_dim
        value_P = np.full(dim, NEUTRAL_PREFERENCE) if preference_P is None else np.asarray(preference_P)
        if value_P.shape != (dim,) or not np.isfinite(value_P).all():
            raise InvalidInput(f"preference of shape {value_P.shape}: {dim} finite numbers")
        with torch.no_grad():
            value_1P = torch.from_numpy(value_P.astype(np.float32))[None].to(self.device)
            score_A = self.network.score(self._features([sample]), value_1P)[0].cpu()
        scores = dict(zip(ASPECTS, score_A.tolist(), strict=True))
        return PhysiqueScore(status, num_people, scores, used_branches(sample))

    def features(self, photos: Sequence[Image.Image]) -> list[np.ndarray | str]:
        """Per photo its features, shape (D,), float32, or the reason why it cannot be scored."""
        answers: dict[int, np.ndarray | str] = {}
        samples: dict[int, Sample] = {}
        for b, photo in enumerate(photos):
            try:
                body = self.finder.find(photo)
                if body.may_be_scored:
                    samples[b] = self._sample(photo, body)
                else:
                    answers[b] = f"{body.status}: {body.num_people} people were found"
            except InvalidInput as error:  # refuses this photo alone
                answers[b] = str(error)
        positions = list(samples)
        for start in range(0, len(positions), self.batch_size):
            batch = positions[start : start + self.batch_size]
            with torch.no_grad():
                features_BD = self._features([samples[b] for b in batch]).cpu().numpy()
            answers |= dict(zip(batch, features_BD, strict=True))
        return [answers[b] for b in range(len(photos))]

    def _sample(self, photo: Image.Image, body: FoundBody) -> Sample:
        config = self.network.config
        pixel_3SS, place = letterbox(photo, config.image_size, config.compatibility.squash_image)
        joints_K2 = None if body.joints_K2 is None else place.to_square(body.joints_K2)
        return Sample(pixel_3SS, joints_K2, body.vertices_V3, None)

    def _features(self, samples: Sequence[Sample]) -> torch.Tensor:
        inputs = collate_samples(samples, self.network.config).to(self.device)
        with self._autocast():
            return self.network.features(inputs.image, inputs.posture, inputs.mesh).float()

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self.device.split(":")[0], dtype=dtype, enabled=dtype != torch.float32)


def used_branches(sample: Sample) -> tuple[str, ...]:
    """The branches that the network can use for a sample, in the order of `BRANCHES`."""
    known = {"image": True, "posture": sample.joints_K2 is not None, "mesh": sample.vertices_V3 is not None}
    return tuple(branch for branch in BRANCHES if known[branch])
