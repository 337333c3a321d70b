"""Each case in a process of its own: what is imported first decides.

That Avalanche, and then timm, can be imported after the shim is shown by test_lean_imports.py, in a worker's process.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IMPORT_FROM_ANYWHERE = """
import gc
from paaplus.models.torchvision_shim import ensure_torchvision
torchvision = ensure_torchvision()
"""
STILL_WORKS = """
import torch
gc.collect()
assert ensure_torchvision() is torchvision is __import__("torchvision")
assert torch.ops.torchvision.nms is not None
from torchvision.transforms.v2 import ToImage
import timm.models, avalanche.training.templates
assert timm.create_model("test_vit", num_classes=0)(torch.zeros(1, 3, 160, 160)).shape[0] == 1
"""
FAILED_FIRST = """
try:
    import {package}
except RuntimeError as error:
    assert "torchvision::nms" in str(error), error
"""


def run(script: str, path: Path | None = None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", (f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else "") + script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_packages_import_when_imports_without_the_shim_failed_before():
    failed = "".join(FAILED_FIRST.format(package=package) for package in ("timm", "avalanche"))
    run(failed + IMPORT_FROM_ANYWHERE + STILL_WORKS)


def test_nothing_is_declared_when_torchvision_loads_by_itself(tmp_path):
    (tmp_path / "torchvision.py").write_text("works = True\n")
    run(
        IMPORT_FROM_ANYWHERE
        + "from paaplus.models import torchvision_shim\nassert torchvision.works and not torchvision_shim._libraries\n",
        tmp_path,
    )


def test_another_failure_is_not_hidden(tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('out of cheese')\n")
    script = "try:\n" + "".join(f"    {line}\n" for line in IMPORT_FROM_ANYWHERE.strip().splitlines())
    run(
        script
        + "except RuntimeError as error:\n    assert 'out of cheese' in str(error)\nelse:\n    raise SystemExit(1)\n",
        tmp_path,
    )
