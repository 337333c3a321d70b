"""How new feedback meets what was learned before: one file per strategy, named in `paaplus.strategy_facts`."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType

from paaplus import strategy_facts
from paaplus.errors import InvalidInput
from paaplus.strategies.base import Trained, TrainingRequest

__all__ = ["Trained", "TrainingRequest", "strategy_module"]


@cache
def strategy_module(name: str) -> ModuleType:
    """The module of a strategy, of this package or of another one, see `strategies.base`.

    Raises:
        InvalidInput: there is none of this name, or it has neither `plugins` nor `fit`.
    """
    modules = strategy_facts.modules()
    if name not in modules:
        raise InvalidInput(f"unknown strategy {name!r}; known: {sorted(modules)}")
    module = importlib.import_module(modules[name])
    if not (hasattr(module, "plugins") or hasattr(module, "fit")):
        raise InvalidInput(f"strategy {name!r}: {modules[name]} has neither `plugins` nor `fit`")
    return module
