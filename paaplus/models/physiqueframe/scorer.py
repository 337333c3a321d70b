"""Photographs to features and scores: person, mesh, network, and an account of what was used.

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
    """One photograph's answer.

    `scores` is None unless there is one person to be scored; `status` then says why. `branches` is what the scores
    stand on: fewer than image, posture and mesh is a degraded score.
    """

    status: str
    num_people: int
    scores: dict[str, float] | None = None
    branches: tuple[str, ...] = ()

    @property
    def is_degraded(self) -> bool:
        return self.scores is not None and len(self.branches) < len(BRANCHES)


class PhotographScorer:
    """PhysiqueFrame on photographs.

    On a CPU in float32 one at a time: batches gain nothing there, and a photograph's bits do not depend on its
    neighbours.
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
        """Args:
        network: the network.
        finder: of people and meshes.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: of the network's matrix products, a name of `PRECISIONS`; heads are always scored in float32.
        batch_size: photographs that go through the network together; None: 16 on a GPU, on a CPU 1, in bfloat16 4.

        Raises:
            InvalidInput: an unknown precision, or a batch of none.
        """
        if precision not in PRECISIONS:
            raise InvalidInput(f"precision {precision!r}; known: {sorted(PRECISIONS)}")
        if batch_size is not None and batch_size < 1:
            raise InvalidInput(f"batches of {batch_size} photographs: 1 at least")
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
        """Scores of an upright photo.

        Args:
            photo: upright, RGB.
            people: what the caller knows of who is in it; None: the detector is asked, if there is one.
            preference_P: the user's preference feature; None: nobody's in particular, 0.5 five times.

        Raises:
            InvalidInput: people or a preference of another form, or a photo too long and thin.
        """
        body = self.finder.find(photo, people)
        if not body.may_be_scored:
            return PhysiqueScore(body.status, body.num_people)
        return self.score_sample(self._sample(photo, body), body.status, body.num_people, preference_P)

    def score_sample(
        self, sample: Sample, status: str, num_people: int = 1, preference_P: np.ndarray | None = None
    ) -> PhysiqueScore:
        """Scores of a photo whose body is known already; `status` tells from where."""
        dim = self.network.config.preference_dim
        wish_P = np.full(dim, NEUTRAL_PREFERENCE) if preference_P is None else np.asarray(preference_P)
        if wish_P.shape != (dim,) or not np.isfinite(wish_P).all():
            raise InvalidInput(f"preference of shape {wish_P.shape}: {dim} finite numbers")
        with torch.no_grad():
            wish_1P = torch.from_numpy(wish_P.astype(np.float32))[None].to(self.device)
            score_A = self.network.score(self._features([sample]), wish_1P)[0].cpu()
        scores = dict(zip(ASPECTS, score_A.tolist(), strict=True))
        return PhysiqueScore(status, num_people, scores, used_branches(sample))

    def features(self, photos: Sequence[Image.Image]) -> list[np.ndarray | str]:
        """Of each photo what is the same for all users, shape (D,), float32, or why it cannot be scored."""
        answers: dict[int, np.ndarray | str] = {}
        samples: dict[int, Sample] = {}
        for b, photo in enumerate(photos):
            try:
                body = self.finder.find(photo)
                if body.may_be_scored:
                    samples[b] = self._sample(photo, body)
                else:
                    answers[b] = f"{body.status}: {body.num_people} people were found"
            except InvalidInput as error:  # of this photo; the others are scored
                answers[b] = str(error)
        waiting = list(samples)
        for start in range(0, len(waiting), self.batch_size):
            together = waiting[start : start + self.batch_size]
            with torch.no_grad():
                features_BD = self._features([samples[b] for b in together]).cpu().numpy()
            answers |= dict(zip(together, features_BD, strict=True))
        return [answers[b] for b in range(len(photos))]

    def _sample(self, photo: Image.Image, body: FoundBody) -> Sample:
        config = self.network.config
        pixel_3SS, place = letterbox(photo, config.image_size, config.compatibility.squash_image)
        joints_K2 = None if body.joints_K2 is None else place.to_square(body.joints_K2)
        return Sample(pixel_3SS, joints_K2, body.vertices_V3, None)

    def _features(self, samples: Sequence[Sample]) -> torch.Tensor:
        inputs = collate_samples(samples, self.network.config).to(self.device)
        with self._products():
            return self.network.features(inputs.image, inputs.posture, inputs.mesh).float()

    def _products(self) -> AbstractContextManager[object]:
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self.device.split(":")[0], dtype=dtype, enabled=dtype != torch.float32)


def used_branches(sample: Sample) -> tuple[str, ...]:
    """Which branches a sample lets the network use, in the order of `BRANCHES`."""
    known = {"image": True, "posture": sample.joints_K2 is not None, "mesh": sample.vertices_V3 is not None}
    return tuple(branch for branch in BRANCHES if known[branch])
