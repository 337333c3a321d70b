"""Command lines of tests: defaults that make a study small, and what a test gives in their place."""

from __future__ import annotations

from collections.abc import Sequence


def with_options(defaults: Sequence[str], options: Sequence[str]) -> list[str]:
    """The defaults (`--name value`, in turn) that `options` do not set, then the options: none is given twice."""
    kept = [(name, value) for name, value in zip(defaults[::2], defaults[1::2], strict=True) if name not in options]
    return [*(part for pair in kept for part in pair), *options]
