"""Base models of studies in tests: of the same ratings only one is fitted in a test process. Each takes a second."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from paaplus.evaluation import train_side
from paaplus.models.base_fit import fit_base_scorer

_fitted: dict[str, tuple[Any, dict[str, Any]]] = {}  # by everything that a fit is given but its name


@contextmanager
def fitted_once() -> Iterator[None]:
    """Studies get the base model that an earlier one with the same ratings and options got.

    That a fit gives the same bits again is shown by tests/paaplus/models/test_base_fit.py.
    """

    def fit(name: str, *arguments: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
        key = hashlib.sha256(pickle.dumps((arguments, sorted(options.items())))).hexdigest()
        if key not in _fitted:
            _fitted[key] = fit_base_scorer(name, *arguments, **options)
        scorer, metrics = _fitted[key]
        return replace(scorer, name=name), dict(metrics)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train_side, "fit_base_scorer", fit)
        yield
