"""Which databases a test runs on: by default on SQLite and on PostgreSQL.

Tests of the API and of pipelines run on one of the two, by turns: their queries are those of services and of the
queue, whose own tests run on both, and half of these are enough to see that requests and jobs work on either. So do
tests of services that compute far more than they ask, each of whose queries many tests use. Tests that docs/promises.md
names run on both. What is not seen any more: a fault of one database alone that needs just this request, job or case,
and that no other test finds. With `PAAPLUS_TEST_NO_TURNS=1` every test runs on both.
"""

from __future__ import annotations

import os
import re
import zlib
from functools import cache
from pathlib import Path

import pytest

KINDS = ("sqlite", "postgresql")
BY_TURNS = (
    "tests/api/",
    "tests/paaplus/pipelines/",
    "tests/paaplus/services/adapters/test_matches.py",
    "tests/paaplus/services/experts/test_matching.py",
    "tests/paaplus/services/experts/test_quizzes.py",
    "tests/paaplus/services/registry/test_taste_priors.py",
    "tests/paaplus/services/reviews/test_tool_revisions.py",
)
NO_TURNS = "PAAPLUS_TEST_NO_TURNS"  # variable of the environment
PROMISES = Path(__file__).parents[2] / "docs" / "promises.md"

# For tests of what no query decides: a twin on PostgreSQL would prove the same again.
on_one_database = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
# For tests that meet locks or broken transactions, in places that take turns.
on_both_databases = pytest.mark.parametrize("database_kind", KINDS, indirect=True)


@cache
def promised() -> frozenset[str]:
    """The tests that docs/promises.md names."""
    return frozenset(re.findall(r"^\* `(tests/\S+\.py::test_\w+)`$", PROMISES.read_text(), flags=re.MULTILINE))


def turn_of(test: str) -> str | None:
    """The database that a test runs on, by its id without parameters; None: on both."""
    if not test.startswith(BY_TURNS) or test in promised() or NO_TURNS in os.environ:
        return None
    return KINDS[zlib.crc32(test.encode()) % 2]


def give_turn(metafunc: pytest.Metafunc) -> None:
    """Let a test that would run on both databases run on one, if it is its turn; what a test itself names stays."""
    kind = turn_of(metafunc.definition.nodeid.split("[")[0])
    marks = metafunc.definition.iter_markers("parametrize")
    if kind and "database_kind" in metafunc.fixturenames and not any("database_kind" in mark.args[0] for mark in marks):
        metafunc.definition.add_marker(pytest.mark.parametrize("database_kind", [kind], indirect=True))
