"""What an operator does to the platform itself: verify the audit, rotate keys, save and restore everything."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.cli import main as cli
from paaplus.db.engine import Database
from paaplus.db.tables import ApiKeyRow, AuditRow
from paaplus.errors import Unauthenticated
from paaplus.ids import sha256_hex
from paaplus.services.operations import erasures
from paaplus.services.users import keys
from paaplus.settings import Settings, get_settings
from paaplus.storage.blobs import BlobStore
from tests.support.factories import make_user

Run = Callable[..., Any]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line; returns what it printed, read as JSON when asked for with --json."""
    monkeypatch.setattr(keys, "CACHE_S", 0.0)  # there is no other process to wait for

    def call(*arguments: str, exit_code: int = 0, place: Settings = settings) -> Any:
        monkeypatch.setenv("PAAPLUS_HOME", str(place.home))
        monkeypatch.setenv("PAAPLUS_DATABASE_URL", place.resolved_database_url)
        monkeypatch.setenv("PAAPLUS_ERASURES_URL", settings.resolved_erasures_url)
        get_settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["paaplus", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        assert ending.value.code == exit_code, printed.err + printed.out
        return json.loads(printed.out) if "--json" in arguments else printed.out + printed.err

    return call


def test_audit_is_listed_verified_and_found_broken(run: Run, database: Database) -> None:
    run("keys", "create", "--scope", "admin", "--name", "a")
    head = run("audit", "verify", "--json")["head"]
    run("keys", "create", "--scope", "admin", "--name", "b")
    assert [(entry["sequence"], entry["action"]) for entry in run("audit", "list", "--json")] == [
        (2, "key_created"),
        (1, "key_created"),
    ]
    report = run("audit", "verify", "--expect", head, "--json")
    assert (report["is_intact"], report["num_entries"]) == (True, 2)
    assert "SEQUENCE:SHA256" in run("audit", "verify", "--expect", "7", exit_code=1)
    with database.session() as session:
        session.execute(sa.update(AuditRow).where(AuditRow.sequence == 1).values(actor="nobody"))
    broken = run("audit", "verify", "--expect", head, "--json", exit_code=1)
    assert (broken["is_intact"], broken["problems"]) == (False, ["entry 1 was changed"])


def test_rotated_key_keeps_its_id_and_loses_its_secret(run: Run, database: Database) -> None:
    made = run("keys", "create", "--scope", "application", "--application", "app", "--name", "k", "--json")
    rotated = run("keys", "rotate", made["id"], "--json")
    assert rotated["id"] == made["id"]
    with database.read_session() as session:
        row = session.get_one(ApiKeyRow, UUID(made["id"]))
        assert row.key_sha256 == sha256_hex(rotated["key"].encode())
        with pytest.raises(Unauthenticated):
            keys.authenticate(session, made["key"])
    run("keys", "revoke", made["id"])
    assert "is revoked" in run("keys", "rotate", made["id"], exit_code=1)


@pytest.mark.slow
def test_backup_is_restored_into_an_empty_place_without_who_was_erased(
    run: Run, database: Database, settings: Settings, tmp_path: Path
) -> None:
    with database.session() as session:
        kept, erased = make_user(session).id, make_user(session).id
    folder = tmp_path / "backup"
    saved = run("backup", str(folder), "--json")
    assert (saved["rows"], saved["missing_files"]) == (2, [])
    assert "exists already" in run("backup", str(folder), exit_code=1)
    assert "holds rows already" in run("restore", str(folder), exit_code=1)
    place = Settings(home=tmp_path / "new-home", database_url=f"sqlite:///{tmp_path / 'new.db'}")
    assert "list of erased users" in run("restore", str(folder), place=place)
    with database.session() as session:
        blobs = BlobStore(settings.resolved_storage_url)
        erasures.erase(session, blobs, erased, actor="operator", erasures_url=settings.resolved_erasures_url)
    place = place.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'newer.db'}"})
    restored = run("restore", str(folder), "--json", place=place)
    assert (restored["rows"], restored["users_erased_again"]) == (2, [str(erased)])
    assert [user["id"] for user in run("users", "list", "--json", place=place)] == [str(kept)]


def test_refused_restore_leaves_no_folder(run: Run, settings: Settings, tmp_path: Path) -> None:
    no_backup, home = tmp_path / "no backup", tmp_path / "new"
    no_backup.mkdir()
    new = Settings(home=home, database_url=f"sqlite:///{tmp_path / 'none.db'}")
    assert "backup" in run("restore", str(no_backup), exit_code=1, place=new)
    assert not home.exists()


LISTS = [
    "users list",
    "images list",
    "experts list",
    "surveys list",
    "tools revisions",
    "adapters rollback-many --strategy replay --reason x",
]


@pytest.mark.parametrize("command", LISTS)
def test_application_that_nobody_has_is_no_empty_list(run: Run, database: Database, command: str) -> None:
    with database.session() as session:
        make_user(session, application="shop")
    told = run(*command.split(), "--application", "shoop", exit_code=1)
    assert "no application 'shoop'" in told
    assert "shop" in told.replace("'shoop'", "")
    run(*command.split(), "--application", "shop")
