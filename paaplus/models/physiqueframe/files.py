"""The weights files of PhysiqueFrame, and the body finder that can be built from those that are present.

physiqueframe.safetensors or .pth      the network; required
mediapipe-0.10.21-*.whl                the person detector's weights
smpler_x_*.pth.tar or .safetensors     SMPLer-X, which makes meshes; needs the next one
SMPLX_NEUTRAL.npz                      the body model
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from paaplus.errors import Unavailable
from paaplus.models.extractor import weights_digest
from paaplus.models.physiqueframe.body.blazepose import WHEEL_PATTERN, BlazePose
from paaplus.models.physiqueframe.body.checkpoint import load_smpler_x
from paaplus.models.physiqueframe.body.finder import BodyFinder
from paaplus.models.physiqueframe.body.mesh import MeshRegressor
from paaplus.models.physiqueframe.body.model_file import read_model_file
from paaplus.models.physiqueframe.body.skinning import SkinnedBody

_PATTERNS = {
    "checkpoint": ("physiqueframe.safetensors", "physiqueframe.pth"),
    "detector": (WHEEL_PATTERN,),
    "smpler_x": ("smpler_x_*.safetensors", "smpler_x_*.pth.tar"),
    "body_model": ("SMPLX_NEUTRAL.npz",),
}


@dataclass(frozen=True)
class PhysiqueFiles:
    """The path of each file; None for a missing one."""

    checkpoint: Path | None = None
    detector: Path | None = None
    smpler_x: Path | None = None
    body_model: Path | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> PhysiqueFiles:
        """The files of a folder, found by their usual names."""
        return cls(**{name: _first(folder, patterns) for name, patterns in _PATTERNS.items()})

    def replaced(self, **given: Path | None) -> PhysiqueFiles:
        """These files with the given ones in their place; `None` keeps a file."""
        return PhysiqueFiles(**{f.name: given.get(f.name) or getattr(self, f.name) for f in fields(self)})


def build_finder(
    files: PhysiqueFiles, device: str = "cpu", several: str = "refuse", unchecked: bool = False
) -> BodyFinder:
    """A body finder with person detector and, if its files are present, mesh regressor.

    Args:
        files: the weights files.
        device: torch device of the regressor.
        several: treatment of several people, see `choose_person`.
        unchecked: do not look for people; every photo is scored by the image branch alone, with status `unchecked`.

    Raises:
        Unavailable: no detector, and not `unchecked`; or only one of SMPLer-X and the body model is present.
        InvalidInput: a file does not fit.
    """
    if (files.smpler_x is None) != (files.body_model is None):
        there, missing = ("SMPLer-X", "SMPLX_NEUTRAL.npz") if files.smpler_x else ("SMPLX_NEUTRAL.npz", "SMPLer-X")
        raise Unavailable(f"{there} is present and {missing} is not: meshes need both (docs/weights.md)")
    regressor, digest = None, ""
    if files.smpler_x is not None and files.body_model is not None:
        network = load_smpler_x(files.smpler_x)
        digest = weights_digest(network.state_dict(), "SMPLer-X")
        regressor = MeshRegressor(network, SkinnedBody(read_model_file(files.body_model)), device)
    detector = None if unchecked else BlazePose(files.detector)
    return BodyFinder(detector, regressor, digest, several)


def _first(folder: Path, patterns: tuple[str, ...]) -> Path | None:
    return next((path for pattern in patterns for path in sorted(folder.glob(pattern))), None)
