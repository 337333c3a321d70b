"""For tests of what no query decides: they run on SQLite alone, a twin on PostgreSQL would prove the same again."""

from __future__ import annotations

import pytest

on_one_database = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
