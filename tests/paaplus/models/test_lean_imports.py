"""Packages that nothing here calls are not loaded, and say so when they are called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from paaplus.models.lean_imports import leaving_out

# What a worker loads before its first training. In a process of its own: the tests have loaded much of it.
PROGRAM = """
import json, sys
import paaplus.pipelines.run_jobs
loaded = set(sys.modules)
import matplotlib.figure
import torch._dynamo
import avalanche.logging.tensorboard_logger as logger
try:
    logger.SummaryWriter()
except ImportError as error:
    refusal = str(error)
import gc, timm, torchvision
from torchvision.transforms.v2 import ToImage
from paaplus.models.torchvision_shim import ensure_torchvision
gc.collect()
assert ensure_torchvision() is torchvision
assert torch.ops.torchvision.nms is not None
assert timm.create_model("test_vit", num_classes=0)(torch.zeros(1, 3, 160, 160)).shape[0] == 1
print(json.dumps({"loaded": sorted(loaded), "figure": matplotlib.figure.Figure.__name__, "refusal": refusal,
                  "compiler": callable(torch._dynamo.disable)}))
"""


def test_worker_loads_neither_plotting_nor_trackers_nor_the_compiler_and_they_can_be_loaded_later() -> None:
    """Also timm and torchvision, whose operators must be declared before Avalanche is imported."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=Path(__file__).parents[3],
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    assert "avalanche" in found["loaded"]
    assert not {"wandb", "matplotlib", "tensorboard", "torchmetrics", "torch._dynamo", "sympy"} & set(found["loaded"])
    assert found["figure"] == "Figure"
    assert found["compiler"]
    assert "torch.utils.tensorboard.SummaryWriter was left out" in found["refusal"]


def test_stand_in_lasts_as_long_as_the_block(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "left_out_for_a_while.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with leaving_out("left_out_for_a_while"):
        import left_out_for_a_while as stand_in

        class Child(stand_in.Anything):
            """Subclassing is allowed."""

        with pytest.raises(ImportError, match=r"left_out_for_a_while\.Anything was left out"):
            stand_in.Anything()
    import left_out_for_a_while

    assert left_out_for_a_while.value == 1
    monkeypatch.delitem(sys.modules, "left_out_for_a_while")


def test_package_that_is_loaded_already_stays_what_it_is() -> None:
    with leaving_out("json"):
        import json as again
    assert again is json
