"""`paaplus base-models show`: a record, and the starter's card."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paaplus.cli.main import main
from paaplus.db.engine import Database
from paaplus.services.registry import base_models, starter
from paaplus.settings import Settings, get_settings
from paaplus.storage.blobs import BlobStore
from tests.support.tiny import tiny_base


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "var"))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["paaplus", "base-models", "show", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    return capsys.readouterr().out


def test_card_is_shown_before_the_first_start_and_beside_the_record_afterwards(
    elsewhere: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    migrate_sqlite: Callable[[str], None],
) -> None:
    assert told(monkeypatch, capsys, "starter") == starter.card()
    assert not elsewhere.home.exists()
    migrate_sqlite(elsewhere.resolved_database_url)
    database, blobs = Database(elsewhere.resolved_database_url), BlobStore(elsewhere.resolved_storage_url)
    row = starter.ensure(database, blobs, elsewhere)
    with database.session() as session:
        base_models.register(session, blobs, tiny_base(), {}, {})
    database.dispose()
    shown = told(monkeypatch, capsys, "starter")
    assert shown.endswith(starter.card())
    assert row.digest[:8] in shown
    assert json.loads(told(monkeypatch, capsys, "starter", "--json"))["card"] == starter.card()
    assert json.loads(told(monkeypatch, capsys, "tiny@1", "--json"))["card"] is None
