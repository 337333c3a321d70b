"""What is quick is found out from the test itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import tiers
from tests.support.processes import start_worker


def helper() -> None:
    subprocess.run([sys.executable, "--version"], check=True)


class Caller:
    def call(self) -> None:
        helper()


def starts_one_through_a_helper() -> None:
    helper()


def starts_one_through_a_class() -> None:
    Caller().call()


def starts_one_in_a_closure() -> None:
    [start_worker for _ in range(1)]


def starts_none() -> None:
    assert sys.executable


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (starts_one_through_a_helper, True),
        (starts_one_through_a_class, True),
        (starts_one_in_a_closure, True),
        (starts_none, False),
    ],
)
def test_processes_are_found_through_helpers(function, expected: bool) -> None:
    assert tiers.starts_processes(function) is expected


def test_this_test_on_postgresql_is_not_quick(request: pytest.FixtureRequest, database_url: str) -> None:
    assert tiers.is_quick(request.node) is database_url.startswith("sqlite")


@pytest.mark.slow
def test_slow_test_is_not_quick(request: pytest.FixtureRequest) -> None:
    assert not tiers.is_quick(request.node)


def test_first_few_parameters_of_a_test_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "is_quick", lambda item: not item.nodeid.endswith("[slow]"))
    marked = []

    class Item:
        def __init__(self, nodeid: str, *fixtures: str) -> None:
            self.nodeid, self.fixturenames = nodeid, fixtures

        def add_marker(self, name: str) -> None:
            marked.append((self.nodeid, name))

    many = [f"a.py::test[{name}]" for name in ("0", "slow", *range(1, tiers.MAX_QUICK_PARAMETERS + 3))]
    stored = [Item(f"a.py::stored[{number}]", "database_kind") for number in range(3)]
    tiers.mark_quick([*(Item(nodeid) for nodeid in [*many, "a.py::other"]), *stored])  # type: ignore[misc, list-item]
    expected = [f"a.py::test[{number}]" for number in range(tiers.MAX_QUICK_PARAMETERS)]
    assert marked == [(nodeid, "quick") for nodeid in [*expected, "a.py::other", "a.py::stored[0]"]]


def test_folders_without_a_quick_test_are_there_and_are_left_out(request: pytest.FixtureRequest) -> None:
    root = request.config.rootpath
    assert all((root / folder).is_dir() and tiers.holds_no_quick_test(root / folder, root) for folder in tiers.WHOLE)
    for folder in (root, root / "tests", root / "tests" / "paaplus" / "services", root.parent):
        assert not tiers.holds_no_quick_test(folder, root)


def test_longest_come_first() -> None:
    class Item:
        def __init__(self, name: str, *marks: pytest.Mark) -> None:
            self.name, self._marks = name, {mark.name: mark for mark in marks}

        def get_closest_marker(self, name: str) -> pytest.Mark | None:
            return self._marks.get(name)

    items = [
        Item("short"),
        Item("slow", pytest.mark.slow.mark),
        Item("longest", pytest.mark.timeout(600).mark, pytest.mark.slow.mark),
        Item("long", pytest.mark.timeout(400).mark),
        Item("short too"),
        Item("late", pytest.mark.timeout(600).mark, pytest.mark.slow.mark, pytest.mark.late.mark),
    ]
    tiers.sort_longest_first(items)  # type: ignore[arg-type]
    assert [item.name for item in items] == ["longest", "long", "slow", "late", "short", "short too"]


@pytest.mark.parametrize(
    ("test", "unit"),
    [
        ("tests/api/test_users.py::test_a[x]", "tests/api/test_users.py"),
        ("tests/e2e/test_demo.py::test_a[x]", "tests/e2e/test_demo.py::test_a[x]"),
        ("tests/studio/test_health.py::test_a", "tests/studio/"),
        ("tests/studio/test_in_a_browser.py::test_b", "tests/studio/"),
    ],
)
def test_what_one_process_gets_at_once(test: str, unit: str) -> None:
    scheduler = object.__new__(tiers.FilesAndLongTests)
    assert scheduler._split_scope(test) == unit
