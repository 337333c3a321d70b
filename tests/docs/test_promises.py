"""docs/promises.md names tests that exist, fourteen promises, and each that concerns a database is tried on both."""

from __future__ import annotations

import re
from collections.abc import Sequence
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


class Collected:
    """A plugin of pytest: the ids of what was collected."""

    ids: Sequence[str] = ()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.ids = [item.nodeid for item in session.items]


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_every_named_test_exists_and_every_promise_is_tried_on_both_databases(
    capfd: pytest.CaptureFixture[str],
) -> None:
    named = sorted({test for tests in promises().values() for test in tests})
    collected = Collected()
    # in this process, which may have loaded the same modules already: a new one needs 20 s of processor time
    options = ["--collect-only", "--quiet", "-m", "", "-p", "no:xdist", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    code = pytest.main([*options, *(str(ROOT / test) for test in named)], plugins=[collected])
    assert code == pytest.ExitCode.OK, capfd.readouterr().out[-3000:]
    for number, tests in promises().items():
        items = [line for line in collected.ids if line.split("[")[0] in tests]
        for kind in ("sqlite", "postgresql"):
            assert any(re.search(rf"\[.*\b{kind}\b", item) for item in items), f"promise {number}: none on {kind}"
