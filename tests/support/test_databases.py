"""Which databases tests run on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support import databases
from tests.support.databases import BY_TURNS, promised

ROOT = Path(__file__).parents[2]


def test_places_that_take_turns_are_there() -> None:
    assert [place for place in BY_TURNS if not (ROOT / place).exists()] == []


@pytest.mark.parametrize("folder", ["tests/api", "tests/elsewhere"])
def test_tests_take_turns_unless_a_promise_names_them(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{folder}/test_x.py::test_{letter}" for letter in "abcdefgh"]
    monkeypatch.setattr(databases, "promised", lambda: frozenset(names[:1]))
    monkeypatch.delenv(databases.NO_TURNS, raising=False)
    given = Counter(kind for name in names if (kind := databases.turn_of(name)))
    if folder == "tests/api":
        assert databases.turn_of(names[0]) is None, "on both"
        assert set(given) == set(databases.KINDS)
        assert given.total() == len(names) - 1
    else:
        assert given.total() == 0


def test_without_turns_every_test_runs_on_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(databases.NO_TURNS, "1")
    assert {databases.turn_of(f"tests/api/test_x.py::test_{letter}") for letter in "abcdefgh"} == {None}


def test_promises_name_tests_of_folders_that_take_turns() -> None:
    assert sum(test.startswith(BY_TURNS) for test in promised()) > 5
