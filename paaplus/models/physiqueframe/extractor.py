"""PhysiqueFrame as a base model's extractor: 1,280 features that are the same for all users, and the network's heads.

Shape letters: B = photographs, D = features.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from paaplus.errors import Unavailable
from paaplus.models.device import resolve_device
from paaplus.models.extractor import FeatureBlock, to_half, weights_digest
from paaplus.models.physiqueframe.body.finder import BodyFinder
from paaplus.models.physiqueframe.files import PhysiqueFiles, build_finder
from paaplus.models.physiqueframe.heads_numpy import export_heads
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.scorer import PhotographScorer
from paaplus.models.physiqueframe.weights.checkpoint import load_checkpoint
from paaplus.settings import get_settings

NAME = "physiqueframe"


class PhysiqueExtractor:
    """A frozen PhysiqueFrame (satisfies `Extractor`, `BringsHeads` and `Explains`).

    A photograph that cannot be scored has features of NaN; `explain` gives the reason.
    """

    def __init__(
        self, network: PhysiqueFrame, finder: BodyFinder, device: str = "cpu", *, precision: str = "float32"
    ) -> None:
        """The arguments are those of `PhotographScorer`. Another precision is another extractor: its digest differs."""
        self.name = NAME if precision == "float32" else f"{NAME}-{precision}"
        settings = {"config": network.config.to_dict(), "finder": finder.digest}
        if precision != "float32":
            settings["precision"] = precision
        self.digest = weights_digest(network.state_dict(), json.dumps(settings, sort_keys=True))
        self.feature_dim = network.config.feature_dim
        self.blocks = tuple(
            FeatureBlock(size)
            for size in (network.config.vit.out_dim, network.config.graph.dim, network.config.points.out_dim)
        )
        self.heads = export_heads(network)
        if device == "cpu" and precision == "float32":
            network.eval().pack_for_cpu()  # after the digest: packed weights cannot be read back
        self._scorer = PhotographScorer(network.requires_grad_(False), finder, device, precision=precision)

    def extract(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Features of RGB images, shape (B, D), float16; a row of NaN for an image that cannot be scored."""
        features_BD = np.full((len(images), self.feature_dim), np.nan, np.float16)
        for b, answer in enumerate(self._scorer.features(images)):
            if not isinstance(answer, str):
                features_BD[b] = to_half(answer)
        return features_BD

    def explain(self, image: Image.Image) -> str | None:
        """The reason why an image has no features: the status of its people, or an error; None if it has features."""
        (answer,) = self._scorer.features([image])
        return answer if isinstance(answer, str) else None


def build(weights: Path | None = None, device: str = "cpu", *, precision: str = "float32") -> PhysiqueExtractor:
    """The extractor `physiqueframe`.

    Args:
        weights: a folder with the files of `paaplus.models.physiqueframe.files`, or a checkpoint with the other files
            in its folder; None: the folder `weights` in PAAPLUS_HOME.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: see `PhotographScorer`.

    Raises:
        InvalidInput: a file cannot be read or does not fit.
        Unavailable: the checkpoint or the detector's weights are missing.
    """
    folder = weights or get_settings().home / "weights"
    files = PhysiqueFiles.in_folder(folder if folder.is_dir() else folder.parent)
    files = files.replaced(checkpoint=folder if folder.is_file() else None)
    if files.checkpoint is None:
        raise Unavailable(f"no physiqueframe.safetensors or .pth in {folder}: docs/weights.md describes how to get it")
    device = resolve_device(device)
    network, _ = load_checkpoint(files.checkpoint)
    return PhysiqueExtractor(network, build_finder(files, device), device, precision=precision)
