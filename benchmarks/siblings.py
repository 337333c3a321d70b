"""How far the networks of the laboratory's other systems are from the originals on a parity fixture.

    python benchmarks/siblings.py --fixture DIR [--only NAME] [--seed WORD] [--expected DIR2] [--json FILE]

DIR holds one folder a network, each with a `verify.py` that makes weights and inputs, names cases, and compares with
stored numbers. Every case of every folder is run by that file itself, with our function for the folder: this program
only counts. Without --fixture it is `siblings/parity` in PAAPLUS_TEST_SHARED.

Other cases of the same networks: another DIR; or --seed WORD, which puts a word before every name that weights and
inputs are made from, with --expected DIR2 that holds NAME.npz or NAME/expected.npz for each folder.

    python benchmarks/siblings.py --timings

prints for each tool what an image of 1024 x 768 costs, in milliseconds of one core (process time, one thread; random
weights of full size, best of three).

A folder may be named like a network with something behind it (`eat-b1`). Ends with 1 if a difference is beyond its
tolerance, or a case did not run; a case whose official weight file is missing is told and does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from paaplus.models.siblings import parity
from paaplus.models.siblings.load import RECIPES
from paaplus.models.siblings.tools import BUILDERS
from paaplus.tools.tool import ToolImage

LINE = re.compile(r"^(ok  |FAIL) (\S+): max diff (\S+) \(allowed (\S+?),")
FUNCTIONS = parity.__name__
FILTERS = "paaplus.evaluation.robustness.parity"  # the attack's image filters, where they are
LEFT_OUT = {
    "sr_iaa": "left out: 35 s an image, its own forward pass cannot run; its law is in the product (docs/siblings.md)"
}
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Result:
    """One folder. `largest`: by array the largest difference over cases, and what is allowed."""

    name: str
    state: str = "ok"
    cases: int = 0
    arrays: int = 0
    largest: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("PAAPLUS_TEST_SHARED")
    parser.add_argument("--fixture", type=Path, default=Path(shared) / "siblings" / "parity" if shared else None)
    parser.add_argument("--only", action="append", help="only this folder; may be repeated")
    parser.add_argument("--seed", default="", help="word before every name of the recipe")
    parser.add_argument("--expected", type=Path, help="folder of other expected numbers")
    parser.add_argument("--json", type=Path, help="write the report here, too")
    parser.add_argument("--timings", action="store_true", help="measure tools instead")
    options = parser.parse_args()
    if options.timings:
        print_timings()
        return 0
    if options.fixture is None:
        print("no fixture: nothing is compared", file=sys.stderr)
        return 0
    folders = sorted(file.parent.resolve() for file in options.fixture.rglob("verify.py"))
    folders = [folder for folder in folders if not options.only or folder.name in options.only]
    if not folders:
        print(f"no folder with a verify.py in {options.fixture}", file=sys.stderr)
        return 1
    results = [check(folder, options.seed, options.expected) for folder in folders]
    print_table(results)
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    return 1 if any(result.state == "FAIL" for result in results) else 0


def check(folder: Path, seed: str, expected: Path | None) -> Result:
    result = Result(folder.name)
    function = function_for(folder.name)
    if function is None:
        left_out = next((why for name, why in LEFT_OUT.items() if folder.name.startswith(name)), None)
        result.state = "left out" if left_out else "FAIL"
        result.notes.append(left_out or "no function of ours for this folder")
        return result
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    surroundings["PYTHONDONTWRITEBYTECODE"] = "1"  # the fixture's folder stays as it is
    if seed:
        surroundings["PARITY_SEED"] = seed
    if expected is not None:
        files = [expected / f"{folder.name}.npz", expected / folder.name / "expected.npz"]
        surroundings["PARITY_EXPECTED"] = str(next((file for file in files if file.is_file()), files[0]))
    began = time.perf_counter()
    check_cases(result, folder, ["--impl", f"{FUNCTIONS}:{function}"], surroundings)
    if (folder / "filters.npz").is_file() and not seed:
        if find_spec("paaplus.evaluation.robustness") is not None:
            run(result, folder, ["--filters", f"{FILTERS}:filtered"], surroundings, ["filters"])
        else:
            result.notes.append("the filters are not part of this version")
    result.seconds = time.perf_counter() - began
    if not result.arrays and result.state == "ok":
        result.state = "not run"
    return result


def check_cases(result: Result, folder: Path, arguments: list[str], surroundings: dict[str, str]) -> None:
    """All cases in one process, which imports torch once; one by one if that one failed, to name what fails."""
    cases = cases_of(folder, surroundings)
    at_once = replace(result, largest={}, notes=[])
    run(at_once, folder, [*arguments, *(word for case in cases for word in ("--case", case))], surroundings, cases)
    if at_once.cases == len(cases):
        vars(result).update(vars(at_once))
        return
    for case in cases:
        run(result, folder, [*arguments, "--case", case], surroundings, [case])


def run(result: Result, folder: Path, arguments: list[str], surroundings: dict[str, str], cases: list[str]) -> None:
    """Run the folder's verify.py once, for these cases, and count what it prints."""
    done = subprocess.run(
        [sys.executable, "verify.py", *arguments],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if not (match := LINE.match(line)):
            if line.startswith("FAIL"):
                result.notes.append(line)
            continue
        word, name, told, allowed = match.groups()
        array, difference = name.rpartition("/")[2], float(told)
        result.arrays += 1
        if word == "FAIL":
            result.notes.append(line)
        known = result.largest.get(array, (-1.0, 0.0))
        if not difference <= known[0]:  # a NaN is the largest
            result.largest[array] = (difference, float(allowed))
    if done.returncode == 0:
        result.cases += len(cases)
        return
    case = " ".join(cases)
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    if "FileNotFoundError" in last and ".pth" in last:
        result.notes.append(f"{case}: official weight file missing: not run")
        return
    result.state = "FAIL"
    result.notes.append(f"{case}: {last if done.stderr else 'beyond its tolerance'}"[:300])


def cases_of(folder: Path, surroundings: dict[str, str]) -> list[str]:
    """The cases that the folder's verify.py names and that numbers are stored for."""
    program = "import verify, json; print(json.dumps(list(verify.CASES)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=surroundings, capture_output=True, text=True, check=True
    )
    stored = np.load(surroundings.get("PARITY_EXPECTED") or folder / "expected.npz", allow_pickle=False).files
    known = {name.split("/", 1)[0] for name in stored}
    return [case for case in json.loads(done.stdout) if case in known]


def function_for(name: str) -> str | None:
    """Ours for a folder: of the same name, or of the longest beginning of it."""
    return max((one for one in parity.FUNCTIONS if name.startswith(one)), key=len, default=None)


def print_timings() -> None:
    """Each tool with a full-size network, whose weights do not matter: they cost the same whatever they are."""
    torch.set_num_threads(1)
    pixel_HW3 = np.random.default_rng(0).integers(0, 256, (768, 1024, 3), np.uint8)
    image = ToolImage(Image.fromarray(pixel_HW3))
    for name, recipe in RECIPES.items():
        torch.manual_seed(0)
        network = recipe.network().eval().requires_grad_(False)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(std=0.02)
        tool = BUILDERS[name]("timing", partial(lambda loaded: loaded, network), "cpu", None)
        spent = []
        for _ in range(3):
            began = time.process_time()
            tool.score([image])
            spent.append(time.process_time() - began)
        size = sum(parameter.numel() for parameter in network.parameters())
        print(f"{name:20} {1000 * min(spent):7.0f} ms   {size / 1e6:6.1f} M parameters", flush=True)


def print_table(results: list[Result]) -> None:
    for result in results:
        print(f"{result.state:9} {result.name}: {result.cases} cases, {result.arrays} arrays, {result.seconds:.0f} s")
        for array, (difference, allowed) in sorted(result.largest.items()):
            print(f"            {array:18} largest difference {difference:9.3g}   allowed {allowed:g}")
        for note in result.notes:
            print(f"            {note}")


if __name__ == "__main__":
    sys.exit(main())
