"""The LAION aesthetic head: one linear score of CLIP ViT-L/14 image embeddings. NumPy only.

Its five layers have no activation between them, so they are one vector and one number.

Source:
    Schuhmann, improved aesthetic predictor (SAC + LOGOS + AVA, linear, MSE).
Shape letters: D = 768, the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.tools.tool import on_scale

EMBEDDING_DIM = 768
LAYERS = ("layers.0", "layers.2", "layers.4", "layers.6", "layers.7")
LOWEST, HIGHEST = 1.0, 10.0  # of the ratings that it was trained on


@dataclass(frozen=True, eq=False)
class LaionHead:
    """The collapsed head, float64."""

    vector_D: np.ndarray
    bias: float

    def raw_score(self, embedding_D: np.ndarray) -> float:
        """The head's own score, about 1 to 10 but unbounded, of an embedding of any length.

        Raises:
            InvalidInput: an embedding of another size, all zero, or not finite.
        """
        embedding_D = np.asarray(embedding_D, np.float64)
        length = float(np.linalg.norm(embedding_D)) if embedding_D.shape == self.vector_D.shape else 0.0
        if not (0.0 < length < np.inf):  # false for NaN
            raise InvalidInput(f"no CLIP embedding: shape {embedding_D.shape}, length {length:g}")
        return float(self.vector_D @ (embedding_D / length)) + self.bias

    def score(self, embedding_D: np.ndarray) -> float:
        """0-10, straight from 1-10 and cut."""
        return on_scale(self.raw_score(embedding_D), LOWEST, HIGHEST)


def collapse(weights: Mapping[str, np.ndarray]) -> LaionHead:
    """The five layers as one.

    Raises:
        InvalidInput: layers are missing, do not fit each other, or are not finite.
    """
    try:
        matrix, bias = np.eye(EMBEDDING_DIM), np.zeros(EMBEDDING_DIM)
        for layer in LAYERS:
            weight = np.asarray(weights[f"{layer}.weight"], np.float64)
            matrix, bias = weight @ matrix, weight @ bias + np.asarray(weights[f"{layer}.bias"], np.float64)
    except (KeyError, ValueError) as error:
        raise InvalidInput(f"not the LAION head: {str(error)[:200]}") from error
    if matrix.shape != (1, EMBEDDING_DIM) or bias.shape != (1,):
        raise InvalidInput(f"not the LAION head: it makes {matrix.shape} of an embedding")
    if not (np.isfinite(matrix).all() and np.isfinite(bias).all()):
        raise InvalidInput("the LAION head has numbers that are not finite")
    return LaionHead(matrix[0], float(bias[0]))
