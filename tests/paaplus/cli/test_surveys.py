"""`paaplus surveys` as an operator types it, from a form to an encoder that users' answers go through."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from paaplus.cli import main as cli
from paaplus.db.engine import Database
from paaplus.db.tables.experts import ExpertForm
from paaplus.pipelines import train_encoder
from paaplus.services.experts import experts
from paaplus.services.surveys import preferences, surveys
from paaplus.services.users import users
from paaplus.services.users.keys import OPERATOR
from paaplus.settings import Settings, get_settings
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION

FORM = {
    "title": "t",
    "items": [
        {"id": "people", "kind": "scale", "text": "?", "min": -9, "max": 9, "whole": False},
        {
            "id": "light",
            "kind": "choice",
            "text": "?",
            "options": ["dark", "bright"],
            "codes": [-1, 1],
            "optional": True,
        },
    ],
}
OPTIONS = ("--application", APPLICATION)
Run = Callable[..., Any]


@pytest.fixture
def deployment(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    monkeypatch.setenv("PAAPLUS_HOME", str(settings.home))
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", settings.database_url)
    get_settings.cache_clear()
    return Deployment(database, settings, num_images=60)


@pytest.fixture
def run(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line; returns what it printed, read as JSON when asked for with --json."""

    def call(*arguments: str, exit_code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["paaplus", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        assert ending.value.code == exit_code, printed.err
        if exit_code:
            return printed.err + printed.out
        return json.loads(printed.out) if "--json" in arguments else printed.out

    return call


@pytest.fixture
def form(tmp_path: Path) -> Path:
    file = tmp_path / "form.json"
    file.write_text(json.dumps(FORM))
    return file


def write(file: Path, *rows: tuple[object, ...]) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return file


def liking_of(seed: int) -> float:
    return float(np.random.default_rng([seed, 5]).normal())


def add_rater(deployment: Deployment, seed: int, num_images: int = 40) -> UUID:
    """A simulated person: what they like more or less than others is one direction of taste space."""
    user = deployment.add_user(f"user{seed}")
    direction_R = np.random.default_rng(8).normal(size=deployment.base.taste_dim)
    direction_R /= np.linalg.norm(direction_R) * deployment.taste_IR.std()
    noise_I = np.random.default_rng([seed, 6]).normal(0, 0.3, num_images)
    own_I = liking_of(seed) * (deployment.taste_IR[:num_images] @ direction_R)
    score_I = np.clip(deployment.generic_IA[:num_images, 0] + own_I + noise_I, 0, 10)
    deployment.post(*(deployment.rating(user, f"r{i}", i, float(s), i) for i, s in enumerate(score_I)))
    return user


def test_survey_from_form_to_answers(run: Run, form: Path, tmp_path: Path, deployment: Deployment) -> None:
    created = run("surveys", "create", "first", str(form), "--domain", "photographs", *OPTIONS, "--json")
    assert (created["version"], created["is_new"]) == (1, True)
    again = run("surveys", "create", "first", str(form), "--domain", "photographs", *OPTIONS, "--json")
    assert (again["id"], again["is_new"]) == (created["id"], False)
    file = write(tmp_path / "a.csv", ("user_id", "people", "light"), ("ada", "3.5", "bright"), ("ben", "-2", "-1"))
    assert run("surveys", "import", "first", str(file), *OPTIONS, "--json") == {"new": 2, "unchanged": 0}
    assert run("surveys", "import", "first", str(file), *OPTIONS, "--json") == {"new": 0, "unchanged": 2}
    answers = run("surveys", "answers", "first", *OPTIONS, "--json")
    assert sorted(row["answers"]["light"] for row in answers) == ["bright", "dark"]
    (listed,) = run("surveys", "list", "--json")
    assert (listed["name"], listed["num_answers"]) == ("first", 2)
    assert json.loads(run("surveys", "show", "first", *OPTIONS))["form"]["items"][0]["id"] == "people"
    run("surveys", "retire", "first", "1", *OPTIONS)
    assert "retired" in run("surveys", "import", "first", str(write(file, ("user_id", "people"), ("ada", "1"))),
                            *OPTIONS, exit_code=1)  # fmt: skip


def test_table_with_a_bad_line_changes_nothing(run: Run, form: Path, tmp_path: Path, deployment: Deployment) -> None:
    run("surveys", "create", "first", str(form), "--domain", "photographs", *OPTIONS)
    header = ("user_id", "people")
    for rows, told in (
        ([header, ("ada", "3"), ("ben", "12")], "line 3"),
        ([header, ("ada", "3"), ("ben", "many")], "line 3"),
        ([header, ("ada", "3"), ("", "3")], "line 3"),
        ([header, ("ada", "3"), ("ben", "")], "line 3"),
        ([("user", "people"), ("ada", "3")], "user_id"),
        ([("user_id", "other"), ("ada", "3")], "people"),
    ):
        file = write(tmp_path / "a.csv", *rows)
        assert told in run("surveys", "import", "first", str(file), *OPTIONS, exit_code=1)
    assert run("surveys", "answers", "first", *OPTIONS, "--json") == []
    with deployment.database.read_session() as session:
        assert users.list_users(session, OPERATOR) == []


def test_form_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    for text in ("{", "[]", '{"title": "t", "items": []}'):
        file = tmp_path / "form.json"
        file.write_text(text)
        assert "error" in run("surveys", "create", "x", str(file), "--domain", "d", exit_code=1)


@pytest.mark.slow
def test_encoder_is_learned_from_users_who_share_and_from_experts(
    run: Run, form: Path, tmp_path: Path, deployment: Deployment
) -> None:
    run("surveys", "create", "first", str(form), "--domain", "photographs", *OPTIONS)
    people = [add_rater(deployment, seed) for seed in range(54)]
    rows = [(f"user{seed}", round(liking_of(seed), 3)) for seed in range(54)]
    file = write(tmp_path / "a.csv", ("user_id", "people"), *rows, ("new", 2.5))
    run("surveys", "import", "first", str(file), *OPTIONS)
    with deployment.database.session() as session:
        for user in people[2:]:
            users.set_sharing(session, user, True, actor="admin")
        experts.register(session, people[0], name="e", domain="photographs", form=ExpertForm.POOLED, actor="admin")
    train = ("surveys", "train", "first", "--from-users", *OPTIONS)
    trained = run(*train, "--json", "--idempotency-key", "monday")
    assert trained["is_new"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_encoder, "encoder_from_users", None)  # the work is not done again under the same key
        assert run(*train, "--json", "--idempotency-key", "monday") == trained
        assert "was used for another" in run(*train, "--scale", "1,7", "--idempotency-key", "monday", exit_code=1)
    assert trained["num_people"] == 53  # user1 neither shares nor is an expert
    assert trained["metrics"]["gain_low"] > 0
    assert trained["num_users_encoded"] == 55
    with deployment.database.read_session() as session:
        new = users.resolve(session, OPERATOR, f"{APPLICATION}/new")
        shift = preferences.shift_of(session, new, deployment.base_row)
    own_I = deployment.taste_IR[:40] @ shift.shift_PA[2:, 0]
    own_I += shift.shift_PA[1, 0] * (deployment.generic_IA[:40, 0] - 5)
    direction_R = np.random.default_rng(8).normal(size=deployment.base.taste_dim)
    assert np.corrcoef(own_I, deployment.taste_IR[:40] @ direction_R)[0, 1] > 0.9
    again = run(*train, "--json")
    assert (again["version"], again["is_new"]) == (trained["version"], False)
    (encoder,) = json.loads(run("surveys", "show", "first", *OPTIONS))["encoders"]
    assert encoder["digest"] == trained["digest"]
    retired = run("surveys", "retire-encoder", "first", "1", *OPTIONS, "--json")
    assert retired["retired_at"]
    with deployment.database.read_session() as session:
        assert preferences.preference_of(session, new.id) is None
    with deployment.database.session() as session:
        for user in people[2:6]:
            users.set_sharing(session, user, False, actor="admin")
    assert "49 people" in run("surveys", "train", "first", "--from-users", *OPTIONS, exit_code=1)


def test_survey_of_pairs_comes_from_the_experts(run: Run, deployment: Deployment) -> None:
    for seed in range(2):
        user = deployment.add_user(f"expert{seed}")
        with deployment.database.session() as session:
            experts.register(session, user, name="e", domain="photographs", form=ExpertForm.POOLED, actor="admin")
        deployment.rate(user, range(30), seed=seed)
    deployment.work()
    created = run("surveys", "from-experts", "pairs", "--domain", "photographs", "--count", "4", *OPTIONS, "--json")
    assert created["num_pairs"] >= 1
    with deployment.database.read_session() as session:
        row = surveys.get(session, APPLICATION, "pairs")
    assert {item["kind"] for item in row.form["items"]} == {"image_pair"}


def test_train_wants_one_source(run: Run, tmp_path: Path) -> None:
    for options in ([], ["--from-users", "--data", str(tmp_path)], ["--data", str(tmp_path)]):
        run("surveys", "train", "first", *options, *OPTIONS, exit_code=2)
