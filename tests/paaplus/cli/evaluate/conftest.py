"""Studies by their commands, on simulated people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fits import fitted_once


@pytest.fixture(scope="module", autouse=True)
def _base_models_are_fitted_once() -> Iterator[None]:
    with fitted_once():
        yield
