"""docs/promises.md names tests that exist, fourteen promises, and each that concerns a database is tried on both."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NUM_PROMISES = 14


def promises() -> dict[int, list[str]]:
    """By number, the tests that show it."""
    parts = re.split(r"^## (\d+)\. ", (ROOT / "docs" / "promises.md").read_text(), flags=re.MULTILINE)[1:]
    return {
        int(number): re.findall(r"^\* `(tests/\S+\.py::test_\w+)`$", text, flags=re.MULTILINE)
        for number, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_there_are_fourteen_promises_and_each_names_a_test() -> None:
    assert list(promises()) == list(range(1, NUM_PROMISES + 1))
    assert [number for number, tests in promises().items() if not tests] == []


@pytest.mark.timeout(240)
def test_every_named_test_exists_and_every_promise_is_tried_on_both_databases() -> None:
    named = sorted({test for tests in promises().values() for test in tests})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-m", "", *named],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    collected = [line for line in done.stdout.splitlines() if "::" in line]
    for number, tests in promises().items():
        items = [line for line in collected if line.split("[")[0] in tests]
        for kind in ("sqlite", "postgresql"):
            assert any(re.search(rf"\[.*\b{kind}\b", item) for item in items), f"promise {number}: none on {kind}"
