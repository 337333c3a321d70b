"""Make `import torchvision` work with a CPU-only torch; timm and Avalanche import it.

The torchvision wheels on PyPI are linked against CUDA. With a CPU build of torch, their compiled operators do not load,
and `import torchvision` fails with `operator torchvision::nms does not exist`. If the two missing operators are
declared, everything but calling them works. If torchvision loads without help, nothing is declared.
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
    """Import torchvision; if its own operators cannot load, declare them first.

    Call it before the first import of timm, Avalanche or torchvision; further calls cost nothing. It also repairs the
    state that an earlier failed import leaves behind.

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
    _drop_modules("torchvision")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _libraries.append(library)
    return importlib.import_module("torchvision")


def _drop_modules(package: str) -> None:
    """Remove a package's modules after a failed import; the remaining ones refer to a package that is gone."""
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]
