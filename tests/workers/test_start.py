"""A worker starts on the schema it was made for, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from paaplus.settings import Settings
from tests.support.processes import running, start_worker


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize("prefork", [False, True])
def test_worker_does_not_start_on_another_schema(prefork: bool, empty_database_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", database_url=empty_database_url)
    worker = start_worker(settings, prefork=prefork, forked=False)
    with running(worker):
        assert worker.process.wait(100) == 1
    assert "`paaplus db upgrade`" in worker.log()
