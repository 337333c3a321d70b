"""The parity fixture's folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = os.environ.get("PAAPLUS_TEST_SHARED", "")


@pytest.fixture(scope="session")
def fixture_dir() -> Path:
    """The parity fixture, where it is there."""
    folder = Path(SHARED) / "parity" / "physiqueframe"
    if not SHARED or not folder.is_dir():
        pytest.skip("PAAPLUS_TEST_SHARED names no folder with parity/physiqueframe")
    return folder
