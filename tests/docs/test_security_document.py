"""The threat model names a test for every promise: each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_test_that_the_threat_model_names_exists() -> None:
    text = (TESTS.parent / "docs" / "security.md").read_text()
    named = set(re.findall(r"`((?:\w+/)+test_\w+\.py)`", text))
    assert len(named) > 15
    assert sorted(name for name in named if not (TESTS / name).exists()) == []
    rows = [
        line for line in text.split("## What could go wrong")[1].split("## What is not")[0].splitlines() if "|" in line
    ]
    for row in rows[2:]:
        assert re.search(r"test_\w+\.py`|by hand", row), row
