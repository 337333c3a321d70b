"""The NIMA tool: a distribution over ratings 1-10; its mean is the score, its spread the confidence. NumPy only.

A head is a linear map from features to ten logits. The features are those of the base model, or of a network that comes
with the head and that the worker loads (`models.nima`).

Source:
    Talebi & Milanfar, NIMA: neural image assessment (arXiv:1709.05424).
Shape letters: D = features, N = the ten bins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.records import SCORE_MAX
from paaplus.scoring.rows import rowwise_matmul
from paaplus.tools.tool import Judgement, Need, ToolImage, within_width

NUM_BINS = 10
BINS_N = np.arange(1, NUM_BINS + 1, dtype=np.float64)
_POINTS_PER_BIN = SCORE_MAX / (NUM_BINS - 1)  # rating 1 is score 0, rating 10 is score 10


@dataclass(frozen=True, eq=False)
class NimaHead:
    """The last layer of NIMA, and the digest of its file.

    Raises:
        InvalidInput: not ten bins, shapes that do not fit, or numbers that are not finite.
    """

    weight_ND: np.ndarray
    bias_N: np.ndarray
    digest: str

    def __post_init__(self) -> None:
        if self.weight_ND.ndim != 2 or len(self.weight_ND) != NUM_BINS or self.bias_N.shape != (NUM_BINS,):
            raise InvalidInput(f"a head of {NUM_BINS} bins, got {self.weight_ND.shape} and {self.bias_N.shape}")
        if not (np.isfinite(self.weight_ND).all() and np.isfinite(self.bias_N).all()):
            raise InvalidInput("a head with numbers that are not finite")

    @property
    def feature_dim(self) -> int:
        return int(self.weight_ND.shape[1])

    def judge(self, features_D: np.ndarray) -> tuple[float, float]:
        """Score 0-10 and confidence 0-1 of one image."""
        logit_N = rowwise_matmul(features_D[None].astype(np.float64), self.weight_ND.T)[0] + self.bias_N
        return of_logits(logit_N)


def of_logits(logit_N: np.ndarray) -> tuple[float, float]:
    """Score and confidence from logits of the ten bins: the mean of their shares, and how far these are spread."""
    share_N = np.exp(logit_N - logit_N.max())
    share_N /= share_N.sum()
    mean = float(share_N @ BINS_N)
    variance = max(float(share_N @ np.square(BINS_N)) - mean**2, 0.0)
    score = min(max((mean - 1.0) * _POINTS_PER_BIN, 0.0), SCORE_MAX)
    return score, within_width(variance**0.5 * _POINTS_PER_BIN)


@dataclass(frozen=True, eq=False)
class NimaTool:
    """A head on the base model's features, or on those that `backbone` computes from pixels."""

    head: NimaHead
    aspect: str
    extractor_digest: str | None  # of the base model's features; None: the file has its own backbone
    backbone: Callable[[Image.Image], np.ndarray] | None = None

    name = "nima"

    @property
    def version(self) -> str:
        return "-".join(digest[:12] for digest in (self.head.digest, self.extractor_digest) if digest)

    @property
    def aspects(self) -> tuple[str, ...]:
        return (self.aspect,)

    @property
    def need(self) -> Need:
        return Need.FEATURES if self.extractor_digest else Need.PIXELS

    def score(self, images: Sequence[ToolImage]) -> list[Judgement]:
        judgements = []
        for image in images:
            features_D = image.features_D
            if self.backbone is not None and image.image is not None:
                features_D = self.backbone(image.image)
            assert features_D is not None, "this tool needs features or a backbone"
            if features_D.shape != (self.head.feature_dim,):
                raise InvalidInput(f"{features_D.shape} features; the head is for {self.head.feature_dim}")
            score, confidence = self.head.judge(features_D)
            judgements.append(Judgement({self.aspect: score}, {self.aspect: confidence}))
        return judgements


def read_head(file: Path) -> NimaHead:
    """Read a head without a backbone, from a safetensors file with `weight` (10, D) and `bias` (10,), under any prefix.

    Raises:
        InvalidInput: the file cannot be read, or does not have one such head.
    """
    try:
        data = file.read_bytes()
        arrays = load(data)
    except (OSError, SafetensorError, ValueError) as error:
        raise InvalidInput(f"NIMA head {file.name}: {str(error)[:200]}") from error
    return head_of(arrays, sha256_hex(data))


def head_of(arrays: dict[str, np.ndarray], digest: str) -> NimaHead:
    """The head among these arrays: the one linear layer with ten outputs.

    Raises:
        InvalidInput: there is none, or more than one.
    """
    names = [
        name.removesuffix("weight")
        for name, array in arrays.items()
        if name.endswith("weight") and array.ndim == 2 and len(array) == NUM_BINS
    ]
    if len(names) != 1 or f"{names[0]}bias" not in arrays:
        raise InvalidInput(f"a NIMA head is one linear layer of {NUM_BINS} outputs with bias; found {names[:8]}")
    (prefix,) = names
    return NimaHead(arrays[f"{prefix}weight"], arrays[f"{prefix}bias"], digest)
