"""Sizes of PhysiqueFrame, and switches that reproduce deviations of the published code."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from paaplus.errors import InvalidInput

ASPECTS = ("appearance", "health", "posture")


@dataclass(frozen=True)
class VitConfig:
    """CLIP ViT-L/14, image tower."""

    patch_size: int = 14
    width: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    out_dim: int = 768
    adapter_dim: int = 192
    adapter_ratio: float = 0.7  # weight of the adapter; the rest is the weight of the encoder's output


@dataclass(frozen=True)
class SwinConfig:
    """SwinV2-B, trained at 192 px with window 12 and used at 224 px with window 14."""

    patch_size: int = 4
    width: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    num_heads: tuple[int, ...] = (4, 8, 16, 32)
    window_size: int = 14
    pretrained_window_sizes: tuple[int, ...] = (12, 12, 12, 6)
    drop_path_rate: float = 0.2

    @property
    def out_dim(self) -> int:
        return self.width * 2 ** (len(self.depths) - 1)


@dataclass(frozen=True)
class GraphConfig:
    """The graph transformer over joints of Pose-Anything."""

    dim: int = 256
    num_heads: int = 8
    num_layers: int = 3
    hidden_dim: int = 1024
    dropout: float = 0.1


@dataclass(frozen=True)
class PointConfig:
    """PointMLP in its elite layout."""

    width: int = 32
    expansions: tuple[int, ...] = (2, 2, 2, 1)
    blocks: tuple[int, ...] = (1, 1, 2, 1)  # residual blocks of a stage, before and after its pooling
    bottleneck: float = 0.25
    num_neighbours: int = 24

    @property
    def out_dim(self) -> int:
        width = self.width
        for expansion in self.expansions:
            width *= expansion
        return width


@dataclass(frozen=True)
class Compatibility:
    """Deviations of the published code from this one; each switch reproduces one.

    Attributes:
        leak_first_sample_mask: a joint outside a batch's first image is masked in all images of the batch.
        rounded_neighbours: neighbours by |a|^2 + |b|^2 - 2ab in float32. Some metres from the camera, the rounding
            error is as large as the distance of the points: about 4 % of the neighbours are wrong, and they depend on
            the device.
        misread_skeleton: the graph has only the edges 0-0 and 1-2, as in the published script for single images.
        squash_image: the image is stretched to a square, as in that script, instead of padded, as in training.
        zero_missing_body: a photograph without a person gets a mesh of zeros and all joints at pixel (0, 0) with weight
            1, and is scored like any other.
    """

    leak_first_sample_mask: bool = False
    rounded_neighbours: bool = False
    misread_skeleton: bool = False
    squash_image: bool = False
    zero_missing_body: bool = False


@dataclass(frozen=True)
class FrameConfig:
    """Every size of the network; the defaults are those of the official checkpoint.

    Raises:
        InvalidInput: sizes that do not fit together.
    """

    image_size: int = 224
    num_joints: int = 15
    heatmap_size: int = 64
    preference_dim: int = 5
    head_dims: tuple[int, int] = (512, 256)
    head_dropout: float = 0.7
    num_norm_groups: int = 16
    fusion: Literal["cat"] = "cat"
    vit: VitConfig = field(default_factory=VitConfig)
    swin: SwinConfig = field(default_factory=SwinConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    points: PointConfig = field(default_factory=PointConfig)
    compatibility: Compatibility = field(default_factory=Compatibility)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def feature_dim(self) -> int:
        """Number of features of an image, which do not depend on a preference: image, posture, mesh."""
        return self.vit.out_dim + self.graph.dim + self.points.out_dim

    def without_dropout(self) -> FrameConfig:
        """The same sizes without dropout, so that training is deterministic."""
        return replace(
            self,
            head_dropout=0.0,
            swin=replace(self.swin, drop_path_rate=0.0),
            graph=replace(self.graph, dropout=0.0),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are stored with weights."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FrameConfig:
        """The configuration of a dictionary from `to_dict`, which may have been through JSON.

        Raises:
            InvalidInput: an entry is unknown or of another type.
        """
        parts: dict[str, Any] = {
            "vit": VitConfig,
            "swin": SwinConfig,
            "graph": GraphConfig,
            "points": PointConfig,
            "compatibility": Compatibility,
        }
        try:
            given = {name: parts[name](**_tuples(value)) if name in parts else value for name, value in values.items()}
            return cls(**_tuples(given))
        except (TypeError, AttributeError) as error:
            raise InvalidInput(f"not a configuration of PhysiqueFrame: {error}") from error


def tiny_config(**changes: Any) -> FrameConfig:
    """A configuration of the same structure with about 100,000 parameters, for tests and small trainings."""
    tiny = FrameConfig(
        image_size=56,
        heatmap_size=16,
        head_dims=(32, 16),
        num_norm_groups=4,
        vit=VitConfig(patch_size=14, width=32, num_layers=2, num_heads=2, out_dim=24, adapter_dim=8),
        swin=SwinConfig(
            width=16, depths=(2, 2), num_heads=(2, 4), window_size=7, pretrained_window_sizes=(6, 6), drop_path_rate=0.0
        ),
        graph=GraphConfig(dim=32, num_heads=4, num_layers=2, hidden_dim=48, dropout=0.0),
        points=PointConfig(width=8, expansions=(2, 2), blocks=(1, 1), num_neighbours=8),
    )
    return replace(tiny, **changes)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _check(config: FrameConfig) -> None:
    swin, graph, points = config.swin, config.graph, config.points
    num_cells = config.image_size // swin.patch_size
    steps = 2 ** (len(swin.depths) - 1)
    whole = {
        "image_size by vit.patch_size": config.image_size % config.vit.patch_size,
        "vit.width by vit.num_heads": config.vit.width % config.vit.num_heads,
        "image_size by swin.patch_size and its stages": config.image_size % (swin.patch_size * steps),
        "graph.dim by graph.num_heads and by 4": graph.dim % graph.num_heads + graph.dim % 4,
        "graph.dim by num_norm_groups": graph.dim % config.num_norm_groups,
        "points.out_dim by num_norm_groups": points.out_dim % config.num_norm_groups,
    }
    for stage in range(len(swin.depths)):
        side = num_cells // 2**stage
        whole[f"swin stage {stage}: side {side} by its window"] = side % min(swin.window_size, side)
        whole[f"swin stage {stage}: width by heads"] = swin.width * 2**stage % swin.num_heads[stage]
    if len({len(swin.depths), len(swin.num_heads), len(swin.pretrained_window_sizes)}) != 1:
        raise InvalidInput(f"swin: depths, heads and windows of different lengths in {swin}")
    if len(points.expansions) != len(points.blocks):
        raise InvalidInput(f"points: {len(points.expansions)} expansions and {len(points.blocks)} blocks")
    if config.fusion != "cat":
        raise InvalidInput(f"fusion {config.fusion!r}: only cat is supported")
    for what, rest in whole.items():
        if rest:
            raise InvalidInput(f"PhysiqueFrame cannot divide {what}: {config}")
    rates = (swin.drop_path_rate, graph.dropout, config.head_dropout)
    if not all(0 <= rate < 1 for rate in rates):
        raise InvalidInput(f"dropout rates {rates}: 0 to 1")
