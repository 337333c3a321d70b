"""256 items of 256 users scored at once, beside what others offer for it, in turns in one process.

    python benchmarks/peers.py [--residents 20000] [--rounds 12] [--record]

Processor milliseconds, medians of --rounds turns, one thread. `paaplus`: the call of the service that an API process
makes, for one image of 256 users at random among --residents, on SQLite, without HTTP; every score has the same bits
alone and in any batch. `NumPy`: the product of stacked weights alone, without users, versions and bits. `PEFT`: a mixed
batch (`adapter_names`) of 256 rank-1 LoRA adapters on a linear head of the same 256 inputs, all of them loaded; needs
`pip install peft`, and is left out where that is not there. --record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import audience
import numpy as np
import serving
from recording import record_rows

from paaplus.db.engine import Database
from paaplus.db.tables.governance import KeyScope
from paaplus.services.predictions.predict import Predictor
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

NUM_USERS = 256


def ours(home: Path, num_residents: int, *, with_receipts: bool) -> Callable[[], object]:
    settings = Settings(home=home)
    database, blobs = Database(settings.resolved_database_url), BlobStore(settings.resolved_storage_url)
    predictor, rng = Predictor(database, blobs, settings), random.Random(0)
    key = Principal("bench", KeyScope.APPLICATION, None, "bench")
    image = uuid.UUID(json.loads((home / "bench.json").read_text())["images"][0])

    def ask(users: list[int]) -> object:
        wanted = [(f"u{number}", image) for number in users]
        return predictor.answer_references(key, wanted, with_receipts=with_receipts)

    for start in range(0, num_residents, 1_000):
        ask(list(range(start, min(start + 1_000, num_residents))))
    return lambda: ask(rng.sample(range(num_residents), NUM_USERS))


def numpy_product() -> Callable[[], object]:
    rng = np.random.default_rng(0)
    weight_UR = rng.standard_normal((NUM_USERS, serving.TASTE_DIM), np.float32)
    input_UR = rng.standard_normal((NUM_USERS, serving.TASTE_DIM), np.float32)
    return lambda: np.einsum("ur,ur->u", weight_UR, input_UR)


def peft_mixed_batch() -> Callable[[], object]:
    from paaplus.models import torchvision_shim

    torchvision_shim.ensure_torchvision()
    import peft
    import torch

    torch.set_num_threads(1)
    head = torch.nn.Sequential(torch.nn.Linear(serving.TASTE_DIM, 1))
    config = peft.LoraConfig(r=1, target_modules=["0"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(head, config, adapter_name="u0")
        for number in range(1, NUM_USERS):
            model.add_adapter(f"u{number}", config)
    model.eval()
    input_UR, names = torch.randn(NUM_USERS, serving.TASTE_DIM), [f"u{number}" for number in range(NUM_USERS)]

    def score() -> object:
        with torch.inference_mode():
            return model(input_UR, adapter_names=names)

    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--residents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        serving.NUM_USERS = audience.FIRST_USERS
        serving.prepare(home)
        audience.fill(home, options.residents)
        acts = {
            "paaplus": ours(home, options.residents, with_receipts=False),
            "paaplus, with signed receipts": ours(home, options.residents, with_receipts=True),
            "peer: one NumPy product": numpy_product(),
        }
        if importlib.util.find_spec("peft") is not None:
            acts["peer: PEFT, mixed batch"] = peft_mixed_batch()
        else:
            print("peft is not installed: its row is left out")
        costs: dict[str, list[float]] = {what: [] for what in acts}
        for number in range(options.rounds + 1):
            for what, act in acts.items():
                clock = time.process_time()
                act()
                if number:  # the first warms up
                    costs[what].append(1e3 * (time.process_time() - clock))
    of_ours = costs["paaplus"]
    found: list[dict[str, object]] = [
        {
            "what": what,
            "cpu_ms": statistics.median(each),
            "times_ours": statistics.median(cost / own for cost, own in zip(each, of_ours, strict=True)),
        }
        for what, each in costs.items()
    ]
    for row in found:
        serving.show(row)
    if options.record:
        given = f"--residents {options.residents} --rounds {options.rounds}"
        record_rows("peers", f"python benchmarks/peers.py {given}", found)


if __name__ == "__main__":
    main()
