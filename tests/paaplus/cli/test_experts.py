"""`paaplus experts`: the model base and matching, as an operator types it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from paaplus.cli import main as cli
from paaplus.db.engine import Database
from paaplus.settings import Settings, get_settings
from tests.paaplus.services.experts.test_matching import Clinic
from tests.support.factories import APPLICATION


@pytest.fixture
def clinic(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    monkeypatch.setenv("PAAPLUS_HOME", str(settings.home))
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", settings.database_url)
    get_settings.cache_clear()
    return Clinic(database, settings, num_experts=2)


@pytest.fixture
def run(clinic: Clinic, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run `paaplus experts ...`; its JSON, or what it printed when it failed."""

    def call(*arguments: str, exit_code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["paaplus", "experts", *arguments, "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        assert ending.value.code == exit_code, printed.err
        return printed.err if exit_code else json.loads(printed.out)

    return call


def named(name: str) -> str:
    return f"{APPLICATION}/{name}"


def test_the_model_base_as_an_operator_sees_it(run: Callable[..., Any], clinic: Clinic) -> None:
    clinic.add_user("late")
    made = run("register", named("late"), "--name", "Dr. Late", "--domain", "posture", "--form", "head")
    assert (made["is_new"], made["form"]) == (True, "head")
    listed = {each["name"]: each for each in run("list", "--application", APPLICATION)}
    assert {name: each["version"] for name, each in listed.items()} == {"Expert0": 1, "Expert1": 1, "Dr. Late": None}
    assert "no model yet" in listed["Dr. Late"]["not_matched_because"]
    assert run("list", "--domain", "other") == []
    assert run("show", named("expert0"))["held_out"]["srcc"]["beauty"] > 0.9
    assert run("retire", named("expert0"))["retired_at"]
    assert run("restore", named("expert0"))["retired_at"] is None
    [both] = run("agreement", APPLICATION)
    assert both["num_images"] == 60
    clinic.add_user("plain")
    assert "is no expert" in run("retire", named("plain"), exit_code=1)


def test_matching_a_user(run: Callable[..., Any], clinic: Clinic) -> None:
    clinic.add_user("new")
    assert "was not matched yet" in run("match-of", named("new"), exit_code=1)
    match = run("match", named("new"), "--expert", named("expert1"), "--kind", "expert")
    assert (match["kind"], match["version"], match["experts"]) == ("expert", 0, {"Expert1": 1.0})
    assert run("match-of", named("new")) == match
    assert "is an expert" in run("match", named("expert0"), exit_code=1)
