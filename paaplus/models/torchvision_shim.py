"""Make `import torchvision` work beside a CPU-only torch; timm and Avalanche both import it.

The torchvision wheels on PyPI are linked against CUDA. Beside a CPU build of torch their compiled operators do not
load, and `import torchvision` then fails on `operator torchvision::nms does not exist`. Declaring the two missing
operators is enough for everything but calling them. Where torchvision loads by itself, nothing is declared.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

from paaplus.models.lean_imports import leaving_out

_MISSING_OPERATOR = "torchvision::nms"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []  # torch forgets the operators when their Library is collected


def ensure_torchvision() -> ModuleType:
    """Import torchvision, declaring its operators first if its own cannot load.

    Call it just before the first import of timm, Avalanche or torchvision; more calls cost nothing. It also repairs
    the state that an earlier failed import left behind.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision cannot be imported for another reason.
    """
    if "torchvision" in sys.modules:
        return sys.modules["torchvision"]
    with leaving_out("torch._dynamo"):  # the compiler, for one operator that is not called here
        return _import_torchvision()


def _import_torchvision() -> ModuleType:
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING_OPERATOR not in str(error):
            raise
    _forget_half_imported("torchvision")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _libraries.append(library)
    return importlib.import_module("torchvision")


def _forget_half_imported(package: str) -> None:
    """Drop the submodules that survived a failed import; they hold references to a package that is gone."""
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]
