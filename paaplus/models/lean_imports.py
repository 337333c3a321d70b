"""Import timm, torchvision and Avalanche without the packages that they load and that nothing here calls.

They import plotting, experiment tracking, model zoos and a compiler at their top, which is two thirds of the processor
time that a worker needs to start. While such a package is left out, a stand-in takes its place, whose names can be
imported and subclassed, but not called.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


@contextmanager
def leaving_out(*packages: str) -> Iterator[None]:
    """In the block, an import of these packages (dotted names may be given) gives a stand-in.

    A package that is loaded already stays what it is. After the block an import gives the real package again; the
    modules that were imported in the block keep their stand-ins.
    """
    finder = _StandInFinder(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, module in list(sys.modules.items()):
            if isinstance(module, _StandIn):
                del sys.modules[name]
                parent, _, child = name.rpartition(".")
                if parent in sys.modules and sys.modules[parent].__dict__.get(child) is module:
                    delattr(sys.modules[parent], child)


class _StandIn(ModuleType):
    """A module that has every name; each is a class that cannot be called."""

    __path__: MutableSequence[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full_name = f"{self.__name__}.{name}"
        made = _Refusing(name, (), {"__module__": self.__name__, "full_name": full_name})
        setattr(self, name, made)
        return made


class _Refusing(type):
    full_name: str

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise ImportError(f"{cls.full_name} was left out when paaplus was imported: import its package before paaplus")


class _StandInFinder(MetaPathFinder, Loader):
    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if any(fullname == package or fullname.startswith(f"{package}.") for package in self._packages):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""
