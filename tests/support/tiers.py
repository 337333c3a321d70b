"""Which tests are quick, and in which order test processes take tests. No lists: a test itself tells both.

A test is quick if it runs on SQLite or on no database, starts no server and no process, has none of the marks of
`NOT_QUICK` and lies in none of the folders `WHOLE`. Of a test with many parameters the first few are quick, of one on a
database the first.
"""

from __future__ import annotations

import inspect
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

ALONE = "tests/e2e/"  # each of these tests is handed out by itself: some take minutes
TOGETHER = "tests/studio/"  # these are handed out at once: they share a platform and a browser
NOT_QUICK = ("slow", "benchmark", "browser", "gpu", "parity")  # marks
# Folders whose tests run the whole platform or the whole API, whole jobs, all migrations or whole studies, build whole
# networks of papers, or draw the whole built-in set.
WHOLE = (
    "tests/api/",
    "tests/e2e/",
    "tests/migrations/",
    "tests/paaplus/models/physiqueframe/",
    "tests/paaplus/models/siblings/",
    "tests/paaplus/photos/",
    "tests/paaplus/pipelines/",
    "tests/paaplus/evaluation/",
    "tests/paaplus/cli/evaluate/",
    "tests/paaplus/data/builtin_set/",
)
MAX_QUICK_PARAMETERS = 2
MAX_QUICK_PARAMETERS_ON_A_DATABASE = 1
SLOW_S = 60.0  # what is supposed of a test that is marked slow and has no `timeout` mark
LATE_S = 30.0  # puts a test that is marked late behind those, but not at the end
SERVERS = {"postgres_server", "redis_server"}  # fixtures
# Modules that start processes. A test that reaches one of their names, itself or through functions, starts some.
STARTERS = {
    "subprocess",
    "multiprocessing",
    "tests.support.processes",
    "tests.support.forks",
    "concurrent.futures.process",
}


class FilesAndLongTests(LoadFileScheduling):
    """Hands out whole files, so that they share their fixtures; each end-to-end test by itself, the studio at once."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(TOGETHER):
            return TOGETHER
        return nodeid if nodeid.startswith(ALONE) else str(super()._split_scope(nodeid))


def mark_quick(items: Iterable[pytest.Item]) -> None:
    """Add the mark `quick`, in the order of collection."""
    num_quick: Counter[str] = Counter()
    for item in items:
        test = item.nodeid.split("[")[0]
        if num_quick[test] < _most_quick(item) and is_quick(item):
            num_quick[test] += 1
            item.add_marker("quick")


def _most_quick(item: pytest.Item) -> int:
    on_a_database = "database_kind" in getattr(item, "fixturenames", ())
    return MAX_QUICK_PARAMETERS_ON_A_DATABASE if on_a_database else MAX_QUICK_PARAMETERS


def holds_no_quick_test(folder: Path, root: Path) -> bool:
    """Whether the quick tier can leave a folder out without importing its files."""
    return folder.is_relative_to(root) and f"{folder.relative_to(root).as_posix()}/" in WHOLE


def sort_longest_first(items: list[pytest.Item]) -> None:
    """The tests that may take the most time come first: no process is left alone with one of them at the end."""
    items.sort(key=lambda item: -_allowed_s(item))


def _allowed_s(item: pytest.Item) -> float:
    if item.get_closest_marker("late"):
        return LATE_S
    mark = item.get_closest_marker("timeout")
    if mark and mark.args:
        return float(mark.args[0])
    return SLOW_S if item.get_closest_marker("slow") else 0.0


def is_quick(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function) or any(item.get_closest_marker(name) for name in NOT_QUICK):
        return False
    if item.nodeid.startswith(WHOLE):
        return False
    on_postgresql = hasattr(item, "callspec") and item.callspec.params.get("database_kind") == "postgresql"
    if on_postgresql or SERVERS & set(item.fixturenames):
        return False
    definitions = [found[-1] for found in item._fixtureinfo.name2fixturedefs.values()]
    return not any(starts_processes(function) for function in [item.function, *(each.func for each in definitions)])


@cache
def starts_processes(function: Callable[..., object]) -> bool:
    """Whether a name of `STARTERS` is reached from the function through the functions of its module."""
    return any(_module_of(value) in STARTERS for value in _reached(function))


def _module_of(value: object) -> str:
    return value.__name__ if isinstance(value, types.ModuleType) else str(getattr(value, "__module__", ""))


def _reached(function: Callable[..., object]) -> Iterator[object]:
    """The global values that the function names, and those that the functions and classes of its own file name."""
    waiting: list[object] = [inspect.unwrap(function)]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        for code, namespace in _code_of(value):
            for name in _names(code):
                if name in namespace:
                    found = namespace[name]
                    yield found
                    if getattr(found, "__module__", None) == namespace.get("__name__"):
                        waiting.append(found)


def _code_of(value: object) -> Iterator[tuple[types.CodeType, dict[str, object]]]:
    functions: Iterable[object] = vars(value).values() if isinstance(value, type) else [value]
    for function in functions:
        function = inspect.unwrap(function) if callable(function) else function
        if isinstance(function, types.FunctionType):
            yield function.__code__, function.__globals__


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
