"""Which build of torch `make` installs: a stand-in for Python records what pip is asked for."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = """#!/bin/sh
echo "$*" >> "{log}"
case "$*" in *--dry-run*) echo '{{"install": [{{"metadata": {{"version": "{found}"}}}}]}}';; esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / ".made").touch()
    return tmp_path


def install(folder: Path, *options: str, found: str = "2.13.0", exit_code: int = 0) -> str:
    """What pip is asked for at last, where its own sources would give the build `found` of torch."""
    python, log = folder / ".venv" / "bin" / "python", folder / "log"
    python.write_text(PIP.format(log=log, found=found))
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "TORCH"))}
    done = subprocess.run(
        ["make", ".venv/.installed-demo", "PLATFORM=Linux x86_64", *options],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == exit_code, done.stderr
    return log.read_text().splitlines()[-1] if log.exists() else done.stdout


def test_cpu_build_comes_from_the_index_of_pytorch(folder: Path) -> None:
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in install(folder, "TORCH=cpu")


def test_cpu_build_that_pip_finds_itself_needs_no_other_index(folder: Path) -> None:
    asked = install(folder, "TORCH=cpu", found="2.13.0+cpu")
    assert "-e .[demo]" in asked
    assert "index" not in asked


@pytest.mark.parametrize("options", [("TORCH=cuda",), ("TORCH=cpu", "PLATFORM=Darwin arm64")])
def test_other_builds_are_those_of_pypi(folder: Path, options: tuple[str, ...]) -> None:
    assert "index" not in install(folder, *options)


def test_default_is_the_build_for_this_machine(folder: Path) -> None:
    has_driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    assert ("whl/cpu" in install(folder)) is not has_driver


def test_misspelt_build_is_refused(folder: Path) -> None:
    assert "TORCH=gpu: cpu or cuda" in install(folder, "TORCH=gpu", exit_code=2)


def bench(*options: str) -> list[str]:
    """The commands that `make bench` would run."""
    done = subprocess.run(
        ["make", "--dry-run", "bench", *options], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    [line] = [line for line in done.stdout.splitlines() if "benchmarks/all.py" in line]
    command = [sys.executable, *shlex.split(line)[1:], "--list"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return listed.stdout.splitlines() or [listed.stderr.strip()]


def script_of(command: str) -> str:
    return re.search(r"benchmarks/(\w+)\.py", command)[1]  # type: ignore[index]  # every command has one


def test_bench_runs_every_script_that_can_record_its_result() -> None:
    scripts = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("*.py")}
    recording = {name for name, text in scripts.items() if '"--record"' in text or "study_parser(__doc__" in text}
    assert set(map(script_of, bench())) == recording - {"recording", "tuning"}  # tuning chooses, and reports no number


def test_bench_measures_postgresql_wherever_a_script_can() -> None:
    on_postgres = {script_of(command) for command in bench() if "--postgres" in command}
    scripts = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("*.py")}
    assert on_postgres == {name for name, text in scripts.items() if '"--postgres"' in text} - {"all"}


def test_bench_of_some_scripts_hands_options_on() -> None:
    found = bench("BENCH=serving bursts", "ARGS=--record")
    assert found == ["python benchmarks/bursts.py --record", "python benchmarks/serving.py --record"]
    assert bench("BENCH=servnig") == ["no such benchmark: servnig; --list names them"]


def test_a_benchmark_that_fails_is_told_and_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "all.py").write_text((ROOT / "benchmarks" / "all.py").read_text())
    for name in ("serving", "bursts"):
        (tmp_path / f"{name}.py").write_text(f"print('{name} runs'); raise SystemExit({int(name == 'bursts')})")
    done = subprocess.run(
        [sys.executable, "all.py", "--only", "serving,bursts"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "bursts runs" in done.stdout
    assert "serving runs" in done.stdout
    assert re.fullmatch(r"failed after \d+ s: python benchmarks/bursts.py\n", done.stderr)
