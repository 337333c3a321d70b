"""Compare the network with the reference on a parity fixture: the largest difference of every array, as JSON.

    python benchmarks/parity.py --fixture DIR [--no-training] [--no-body]

The default fixture is `parity/physiqueframe` in PAAPLUS_TEST_SHARED; without that variable, nothing is compared.

Runs every case of DIR's verify.py with the weights and inputs of DIR's recipe.py, then DIR's training.json and the
SMPLer-X arrays if there are any. The exit code is 1 if a difference exceeds its tolerance. It takes one to two minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path

import torch

from paaplus.models.physiqueframe.parity import whole_model
from paaplus.models.physiqueframe.parity.training import training_parity


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("PAAPLUS_TEST_SHARED")
    default = Path(shared) / "parity" / "physiqueframe" if shared else None
    parser.add_argument("--fixture", type=Path, default=default)
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--no-body", action="store_true")
    options = parser.parse_args()
    if options.fixture is None:
        print("no fixture: nothing is compared", file=sys.stderr)
        return 0
    torch.set_num_threads(1)
    report = frame_report(options.fixture, not options.no_training)
    if not options.no_body and (options.fixture / "smplerx_s_expected.npz").is_file():
        report["smplerx"] = body_report(options.fixture)
    wrong = [f"{case}/{name}" for case, arrays in report.items() for name, m in arrays.items() if not m["ok"]]
    print(json.dumps({"fixture": options.fixture.name, "beyond_tolerance": wrong, "cases": report}, indent=2))
    return 1 if wrong else 0


def frame_report(folder: Path, training: bool) -> dict[str, whole_model.Measures]:
    """Differences of keys, buffers, every case and, if wanted, training."""
    fixture = whole_model.Fixture(folder)
    network, load = whole_model.build_network(fixture)
    report = {"keys": whole_model.key_parity(load, fixture)}
    if (folder / "swin_buffers.json").is_file():
        report["swin_buffers"] = whole_model.buffer_parity(network, fixture)
    for case in whole_model.cases(fixture):
        report[case.name] = whole_model.case_parity(network, fixture, case)
    if training and (folder / "training.json").is_file():
        report["training"] = training_parity(network, fixture)
    return report


def body_report(folder: Path) -> whole_model.Measures:
    """Differences of SMPLer-X's arrays; empty if that part is not installed."""
    if importlib.util.find_spec("paaplus.models.physiqueframe.body") is None:
        return {}
    from paaplus.models.physiqueframe.parity.body import smplerx_parity

    return smplerx_parity(folder)


if __name__ == "__main__":
    sys.exit(main())
