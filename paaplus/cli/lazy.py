"""Modules that are loaded at their first use, so that `--help` does not wait for the database's and NumPy's imports."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


@contextmanager
def lazy_imports() -> Iterator[None]:
    """Inside this block, `from paaplus.PACKAGE import MODULE` loads MODULE when its first attribute is read.

    For modules only: importing a class reads an attribute, so it loads the module at once. A module that was loaded
    before is used as it is.
    """
    finder = _LazyFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _LazyFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is None or not fullname.startswith("paaplus."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        # A package's __init__ is one docstring here, and Python reads its path at once: nothing to delay.
        if spec is not None and spec.loader is not None and spec.submodule_search_locations is None:
            spec.loader = LazyLoader(spec.loader)
        return spec
