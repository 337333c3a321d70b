"""Tests. A package, because one of the dependencies installs a top-level package `tests` of its own."""
