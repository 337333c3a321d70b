"""The benchmark of an earlier code beside that of now: turns, rows that a code cannot do, and one row of both."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("before_and_now")


class StandIn:
    """A platform that writes down what is done to it."""

    def __init__(self, name: str, acts: list[str]) -> None:
        self.name, self.acts = name, acts

    def ensure_running(self) -> None:
        self.acts.append(f"{self.name} runs")

    def suspend(self) -> None:
        self.acts.append(f"{self.name} suspended")

    def go_on(self) -> None:
        self.acts.append(f"{self.name} goes on")


def test_codes_are_measured_in_turns_while_the_other_is_suspended(bench: ModuleType) -> None:
    acts: list[str] = []
    platforms = [StandIn("before", acts), StandIn("now", acts)]

    def measure(platform: StandIn, turn: int, _sizes: object) -> dict[str, float]:
        acts.append(f"{platform.name} measured")
        return {"ms": 10.0 + turn if platform.name == "before" else 5.0}

    found = bench.in_turns(bench.Row(measure), platforms, 2, bench.Sizes())
    turn = ["now suspended", "before runs", "before measured", "now goes on"]
    turn += ["before suspended", "now runs", "now measured", "before goes on"]
    assert acts == 2 * turn
    assert found == {"before": {"ms": [10.0, 11.0]}, "now": {"ms": [5.0, 5.0]}}
    [line] = bench.lines("row", found, (1.0, 2.0))
    assert (line["before"], line["now"], line["times_better"]) == (10.5, 5.0, 2.1)
    assert bench.shown([line]) == [
        {"what": "ms", "before": "10.5 (10 to 11)", "now": "5 (5 to 5)", "times better": "2.1", "load": "1.0 to 2.0"}
    ]


@pytest.mark.parametrize(("is_there", "told"), [(False, "not there (/v1/none)"), (True, "failed (ValueError: wrong)")])
def test_what_a_code_cannot_do_is_said_and_the_other_goes_on(bench: ModuleType, is_there: bool, told: str) -> None:
    acts: list[str] = []

    def measure(platform: StandIn, _turn: int, _sizes: object) -> dict[str, float]:
        if platform.name == "now":
            return {"events a second": 3.0}
        raise ValueError("wrong") if is_there else bench.NotThereError("/v1/none")

    found = bench.in_turns(
        bench.Row(measure, runs=False), [StandIn("before", acts), StandIn("now", acts)], 2, bench.Sizes()
    )
    assert acts.count("now suspended") == acts.count("now goes on") == 1  # not tried again
    [line] = bench.lines("row", found, (0.0, 0.0))
    assert (line["before"], line["now"], line["now_turns"]) == (told, 3.0, [3.0, 3.0])
    assert "times_better" not in line
    assert bench.shown([line])[0]["before"] == told


def test_more_a_second_is_better_and_fewer_of_anything_else(bench: ModuleType) -> None:
    assert bench.times_better("events a second of the API's processor", [10.0, 20.0, 30.0], [30.0, 40.0, 30.0]) == 2.0
    assert bench.times_better("idle, MB", [10.0], [5.0]) == 2.0
    assert bench.times_better("idle, per cent of a core", [1.0], [0.0]) is None


def test_clock_of_a_process_counts_threads_that_ended(bench: ModuleType) -> None:
    code = "import threading; t = threading.Thread(target=lambda: sum(range(3_000_000))); t.start(); t.join(); input()"
    processes = importlib.import_module("processes")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        until = time.monotonic() + 30
        before_s = -1.0
        while processes.clock_s(process.pid) > before_s and time.monotonic() < until:  # until it waits
            before_s = processes.clock_s(process.pid)
            time.sleep(0.3)
        counted_s = processes.clock_s(process.pid)
        assert counted_s == pytest.approx(processes.processor_s(process.pid), abs=0.03)
        assert counted_s > 0.02
        process.communicate(b"\n")


@pytest.mark.slow
def test_cheapest_row_of_the_code_beside_itself() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/before_and_now.py", "--commit", "HEAD", "--rows", "help", "--turns", "1"],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cpu, wall = [line.split(" | ") for line in done.stdout.splitlines()]
    assert cpu[0] == "`paaplus --help`, processor s"
    assert wall[0] == "`paaplus --help`, s on the wall"
    assert 0 < float(cpu[1]) < 60
    assert 0 < float(cpu[2]) < 60


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--rows", "nothing"], "no such rows: nothing"),
        (["--turns", "0"], "at least 1"),
        (["--commit", "none"], "none:"),
    ],
)
def test_wrong_options_are_one_line(
    bench: ModuleType, options: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        bench.main(options)
    assert told in str(error.value) + capfd.readouterr().err
