"""`paaplus webhooks`: what an operator does when an application says that it is not told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from paaplus.cli import main as cli
from paaplus.db.engine import Database
from paaplus.db.tables.events import EventKind
from paaplus.services import events
from paaplus.services.webhooks import deliveries
from paaplus.settings import Settings, get_settings
from paaplus.signatures import verify
from tests.support.factories import APPLICATION, make_user
from tests.support.receivers import Receiver, receiving

Run = Callable[..., Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `paaplus webhooks` where private addresses are allowed, since the receiver is on this machine."""
    monkeypatch.setenv("PAAPLUS_HOME", str(settings.home))
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", settings.resolved_database_url)
    monkeypatch.setenv("PAAPLUS_WEBHOOK_ALLOW_PRIVATE", "1")

    def call(*arguments: str, exit_code: int = 0) -> Any:
        get_settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["paaplus", "webhooks", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        assert ending.value.code == exit_code, printed.err + printed.out
        return json.loads(printed.out) if "--json" in arguments else printed.out + printed.err

    return call


def happen(database: Database, user_id: Any) -> None:
    with database.session() as session:
        events.write(session, EventKind.ADAPTER_PROMOTED, user_id, {"to_number": 1})


def test_a_webhook_is_added_tested_disabled_enabled_and_removed(
    run: Run, database: Database, settings: Settings, receiver: Receiver
) -> None:
    added = run("add", receiver.url, "--application", APPLICATION, "--kind", "adapter.promoted", "--json")
    assert added["secret"].startswith("whsec_")
    assert (added["kinds"], added["disabled_at"]) == (["adapter.promoted"], None)
    [listed] = run("list", "--json")
    assert listed == {name: value for name, value in added.items() if name != "secret"}
    assert receiver.url in run("list")

    assert run("test", added["id"], "--json")["result"] == "delivered"
    [(headers, body)] = receiver.received
    verify(added["secret"], headers["Paaplus-Signature"], body)
    assert json.loads(body)["type"] == "webhook.test"
    assert run("deliveries", added["id"], "--json") == [], "a test is no event"

    assert run("disable", added["id"], "--json")["disabled_at"] is not None
    with database.session() as session:
        user_id = make_user(session, external_id="ada").id
    happen(database, user_id)
    assert run("deliveries", added["id"], "--json") == [], "what happens while it is disabled is not told"
    assert "by a person" in run("deliveries", added["id"])
    assert run("enable", added["id"], "--json")["disabled_at"] is None
    happen(database, user_id)
    assert deliveries.deliver_due(database, settings.model_copy(update={"webhook_allow_private": True})) == 1
    [sent] = run("deliveries", added["id"], "--json")
    assert (sent["kind"], sent["state"], sent["attempts"], sent["last_error"]) == ("adapter.promoted", "sent", 1, None)

    run("remove", added["id"], "--yes")
    assert run("list", "--json") == []
    assert "does not exist" in run("deliveries", added["id"], exit_code=1)


def test_errors_of_deliveries_and_of_a_test_are_told(
    run: Run, database: Database, settings: Settings, receiver: Receiver
) -> None:
    receiver.statuses = [500] * 10
    added = run("add", receiver.url, "--json")
    assert "answered 500" in run("test", added["id"], exit_code=1)
    with database.session() as session:
        user_id = make_user(session, external_id="ada").id
    happen(database, user_id)
    deliveries.deliver_due(database, settings.model_copy(update={"webhook_allow_private": True}))
    [waiting] = run("deliveries", added["id"], "--json")
    assert (waiting["state"], waiting["attempts"]) == ("waiting", 1)
    assert "answered 500" in waiting["last_error"]
    assert "answered 500" in run("deliveries", added["id"])


def test_a_wrong_address_is_refused_with_what_is_allowed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAAPLUS_WEBHOOK_ALLOW_PRIVATE", "0")
    assert "https://" in run("add", "http://app.example/", exit_code=1)
    assert "no public address" in run("add", "https://127.0.0.1/", exit_code=1)
    assert "adapter.promoted" in run("add", "https://app.example/", "--kind", "promoted", exit_code=1)
