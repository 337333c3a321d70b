"""Commands as an operator types them: what they print, and what they refuse, on a deployment with versions in it."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from paaplus.cli import main as cli
from paaplus.db.engine import Database
from paaplus.services.registry import base_models
from paaplus.settings import Settings, get_settings
from tests.support.databases import on_one_database
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION
from tests.support.tiny import tiny_base

# Commands have no queries of their own (but `feedback list`): services and API are what is tested on both databases.
# Here PostgreSQL is tried once for each way to it: a change, an import, the database's own commands, the doctor.
ANNA = f"{APPLICATION}/anna"
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def deployment_to_copy(sqlite_settings: Settings) -> Deployment:
    """Anna's versions are trained once for all tests on SQLite."""
    return with_versions_of_anna(Database(sqlite_settings.resolved_database_url), sqlite_settings)


@pytest.fixture
def deployment(
    database: Database,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    database_kind: str,
    request: pytest.FixtureRequest,
) -> Deployment:
    monkeypatch.setenv("PAAPLUS_HOME", str(settings.home))
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", settings.database_url)
    get_settings.cache_clear()
    if database_kind == "sqlite":
        made: Deployment = request.getfixturevalue("deployment_to_copy").copy_to(database, settings)
        return made
    return with_versions_of_anna(database, settings)


def with_versions_of_anna(database: Database, settings: Settings) -> Deployment:
    deployment = Deployment(database, settings)
    user = deployment.add_user("anna")
    for images in (range(40), range(40, 80)):
        deployment.rate(user, images)
        deployment.work()
    return deployment


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


def test_rollback_history_and_release_as_an_operator_does_them(run: Run, deployment: Deployment) -> None:
    first, second = run("adapters", "list", ANNA, "--json")[::-1]
    assert (first["state"], second["state"]) == ("retired", "active")
    change = run("adapters", "rollback", ANNA, "--to", "1", "--reason", "complaint", "--json")
    assert (change["from_number"], change["to_number"], change["num_excluded"]) == (2, 1, 40)
    newest = run("adapters", "history", ANNA, "--json")[0]
    assert (newest["move"], newest["from"], newest["to"], newest["reason"]) == ("rolled_back", 2, 1, "complaint")
    assert run("adapters", "release", ANNA, "--reason", "was fine", "--json") == {"num_released": 40}
    assert run("users", "show", ANNA, "--json")["due_reason"] == "new_feedback"


@on_one_database
def test_wait_ends_when_the_user_is_trained_or_the_time_is_over(run: Run, deployment: Deployment) -> None:
    record = run("users", "wait", ANNA, "--json")
    assert (record["feedback"], record["trained"], record["version"]) == (80, 80, 2)
    told = run("users", "wait", ANNA, "--sequence", "81", "--timeout", "0.3", exit_code=1)
    assert "trained up to event 80, not 81, after 0.3 s" in " ".join(told.split())
    deployment.rate(UUID(record["id"]), range(80, 100))
    assert run("users", "wait", ANNA, "--sequence", "80", "--json")["pending"] == 20


@on_one_database
def test_rollback_by_steps_is_not_repeated_by_accident(run: Run) -> None:
    command = ["adapters", "rollback", ANNA, "--reason", "complaint"]
    assert run(*command, "--active", "2", "--json")["to_number"] == 1
    assert {row["kind"] for row in run("adapters", "exclusions", ANNA, "--json")} == {"rollback"}
    assert "version 1 of user" in run(*command, "--active", "2", exit_code=1)
    assert "rolled back from version 2 to 1" in run(*command, exit_code=1)
    assert run("adapters", "list", ANNA, "--json")[1]["state"] == "active"


@on_one_database
@pytest.mark.slow
def test_commands_with_an_idempotency_key_are_carried_out_once(run: Run) -> None:
    reason = ["--reason", "r", "--json"]
    commands = {
        "rollback": ["adapters", "rollback", ANNA, *reason],
        "release": ["adapters", "release", ANNA, *reason],
        "promote": ["adapters", "promote", ANNA, "2", *reason],
        "pin": ["adapters", "pin", ANNA, "1", *reason],
        "unpin": ["adapters", "unpin", ANNA, *reason],
        "retrain": ["users", "retrain", ANNA, *reason],
    }
    for name, command in commands.items():
        once = [*command, "--idempotency-key", name]
        first = run(*once)
        history = run("adapters", "history", ANNA, "--json")
        assert run(*once) == first, name
        assert run("adapters", "history", ANNA, "--json") == history, name
    other = [*commands["retrain"], "--idempotency-key", "rollback"]
    assert "was used for another request" in run(*other, exit_code=1)
    create = ["keys", "create", "--scope", "admin", "--name", "me", "--json", "--idempotency-key", "k"]
    key_id = run(*create)["id"]
    assert "its secret was printed then" in run(*create, exit_code=1)
    assert [row["id"] for row in run("keys", "list", "--json")] == [key_id]


@on_one_database
def test_base_model_is_named_where_no_version_serves(run: Run) -> None:
    assert "to number     base" in run("adapters", "rollback", ANNA, "--to", "base", "--reason", "r")
    assert re.search(r"rolled_back +2 +base", run("adapters", "history", ANNA))
    assert run("adapters", "history", ANNA, "--json")[0]["to"] is None


@on_one_database
def test_promote_pin_unpin_compare_and_show(run: Run) -> None:
    run("adapters", "promote", ANNA, "1", "--reason", "r")
    run("adapters", "pin", ANNA, "1", "--reason", "r")
    assert run("users", "show", ANNA, "--json")["pinned"] is True
    run("adapters", "unpin", ANNA, "--reason", "r")
    assert "train_mse" in run("adapters", "compare", ANNA, "1", "2")
    assert run("adapters", "show", ANNA, "2", "--json")["gate_report"]["reason"]


@on_one_database
def test_policy_is_shown_set_and_checked(run: Run) -> None:
    shown = run("users", "policy", ANNA, "--set", '{"strategy": "replay", "training": {"rank": 8}}', "--json")
    assert shown["overrides"] == {"strategy": "replay", "training": {"rank": 8}}
    assert (shown["effective"]["strategy"], shown["effective"]["training"]["rank"]) == ("replay", 8)
    assert "cannot train adapter" in run("users", "policy", ANNA, "--set", '{"adapter": "bottleneck"}', exit_code=1)
    assert "JSON object" in run("users", "policy", ANNA, "--set", "[1]", exit_code=1)
    assert run("users", "policy", ANNA, "--json")["overrides"]["strategy"] == "replay"


@on_one_database
def test_retrain_makes_a_job_that_is_listed_and_shown(run: Run, deployment: Deployment) -> None:
    job = run("users", "retrain", ANNA, "--reason", "curious", "--json")["job"]
    assert run("jobs", "list", "--user", ANNA, "--state", "queued", "--json")[0]["id"] == job
    assert run("jobs", "show", job, "--json")["reason"] == "by_hand"
    deployment.work()
    assert run("jobs", "show", job, "--json")["state"] == "succeeded"


@on_one_database
def test_keys_are_shown_once_and_revoked(run: Run) -> None:
    key = run("keys", "create", "--scope", "application", "--application", APPLICATION, "--name", "shop", "--json")
    assert key["key"].startswith("paa_")
    listed = run("keys", "list", "--json")
    assert [k["name"] for k in listed] == ["shop"]
    assert key["key"] not in json.dumps(listed)
    assert run("keys", "revoke", key["id"], "--json")["revoked_at"]


@on_one_database
def test_images_are_added_once_and_bad_ones_told(run: Run, tmp_path: Path) -> None:
    from PIL import Image

    good, bad = tmp_path / "good.png", tmp_path / f"{'long' * 20} [bold]bad.jpg"
    Image.new("RGB", (40, 30), "red").save(good)
    bad.write_bytes(b"not an image")
    assert run("images", "add", str(good), "--application", "shop", "--json")[0]["name"] == "good.png"
    again = run("images", "add", str(good), str(bad), "--application", "shop", exit_code=1)
    assert bad.name in again, "neither broken into lines nor read as markup"
    assert len([i for i in run("images", "list", "--limit", "1000", "--json") if i["application"] == "shop"]) == 1


@on_one_database
def test_folder_is_added_by_paths_and_an_image_is_deleted(run: Run, tmp_path: Path) -> None:
    from PIL import Image

    for n, name in enumerate(("sea/a.png", "sea/deep/b.PNG", "c.webp", ".hidden/d.png", "notes.txt")):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (40 * n, 0, 0)).save(file, "PNG" if n < 4 else "JPEG")
    options = ("--application", "shop", "--json")
    added = run("images", "add", str(tmp_path / "photos"), "--external-ids", *options)
    assert [(i["name"], i["external_id"]) for i in added] == [(n, n) for n in ("c.webp", "sea/a.png", "sea/deep/b.PNG")]
    assert run("images", "add", str(tmp_path / "photos"), *options) == added
    assert [i["name"] for i in run("images", "list", "--application", "shop", "--search", "B.png", "--json")] == [
        "sea/deep/b.PNG"
    ]
    assert run("images", "delete", added[0]["id"], "--json")["num_retracted"] == 0
    assert len(run("images", "list", "--application", "shop", "--json")) == 2
    run("images", "delete", added[0]["id"], exit_code=1)
    (tmp_path / "photos" / "sea" / "phone.HEIC").write_bytes(b"x")
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"x")
    told = run("images", "add", str(tmp_path / "photos"), "--application", "shop", exit_code=1)
    assert "left out, because JPEG, PNG and WebP are taken only: 1 .heic" in told
    told = run("images", "add", str(tmp_path / "photos"), "--application", "a shop", exit_code=1)
    assert told.count("application 'a shop': 1 to 64 of") == 1, "before a file is read"
    (tmp_path / "empty").mkdir()
    assert "no image file" in run("images", "add", str(tmp_path / "empty"), exit_code=1)


def test_ratings_are_imported_once_and_a_bad_line_is_named(run: Run, deployment: Deployment, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30), "red" if name == "a.png" else "blue").save(tmp_path / name)
        run("images", "add", str(tmp_path / name), "--application", "shop")
    file = tmp_path / "ratings.csv"
    file.write_text("user_id,image,rating\nben,a.png,3\nben,b.png,6\n")
    options = ("--scale", "1,7", "--aspect", "beauty", "--application", "shop", "--json")
    assert run("feedback", "import", str(file), *options) == {"accepted": 2, "duplicates": 0}
    assert run("feedback", "import", str(file), *options) == {"accepted": 0, "duplicates": 2}
    assert [e["payload"]["ratings"]["beauty"] for e in run("feedback", "list", "shop/ben", "--json")] == [6, 3]
    with deployment.database.session() as session:
        base_models.register(session, deployment.blobs, tiny_base(("beauty", "grace")), {"extractor": "none"}, {})
    again_as_grace = tuple("grace" if option == "beauty" else option for option in options)
    assert run("feedback", "import", str(file), *again_as_grace) == {"accepted": 2, "duplicates": 0}
    file.write_text("user_id,image,rating\n")
    assert "ratings.csv: no rows below the first line" in run("feedback", "import", str(file), *options, exit_code=1)
    file.write_text("user_id,image,rating\nben,c.png,3\n")
    assert "line 2: no image named 'c.png'" in run("feedback", "import", str(file), *options, exit_code=1)
    file.write_text("user_id,image,rating\nben,a.png,9\n")
    assert "outside its scale" in run("feedback", "import", str(file), *options, exit_code=1)
    file.write_text("user_id,image,rating\nben,a.png,3\nben,b.png\n")
    assert "line 3: 2 values under 3 columns" in run("feedback", "import", str(file), *options, exit_code=1)


@on_one_database
def test_changes_of_mind_in_an_imported_file_are_events_of_their_own(run: Run, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    run("images", "add", str(tmp_path / "a.png"), "--application", "shop")
    file = tmp_path / "ratings.csv"
    file.write_text("user_id,image,rating\nben,a.png,3\nben,a.png,5\nben,a.png,3\n")
    options = ("--aspect", "beauty", "--application", "shop", "--json")
    assert run("feedback", "import", str(file), "--scale", "1,7", *options) == {"accepted": 3, "duplicates": 0}
    assert run("feedback", "import", str(file), "--scale", "1,7", *options) == {"accepted": 0, "duplicates": 3}
    assert [e["payload"]["ratings"]["beauty"] for e in run("feedback", "list", "shop/ben", "--json")] == [3, 5, 3]
    assert run("feedback", "import", str(file), "--scale", "1,9", *options) == {"accepted": 3, "duplicates": 0}


@on_one_database
def test_mistakes_are_one_line_and_change_nothing(run: Run, deployment: Deployment) -> None:
    assert "does not exist" in run("users", "show", "nobody/here", exit_code=1)
    assert "version 9" in run("adapters", "rollback", ANNA, "--to", "9", "--reason", "r", exit_code=1)
    assert "--to '1_0': the number" in run("adapters", "rollback", ANNA, "--to", "1_0", "--reason", "r", exit_code=1)
    assert "the number of a version" in run(
        "adapters", "rollback", ANNA, "--to", "9" * 20, "--reason", "r", exit_code=1
    )
    assert "reason" in run("adapters", "rollback", ANNA, "--to", "1", "--reason", " ", exit_code=2)
    user_id = UUID(run("users", "show", ANNA, "--json")["id"])
    assert deployment.active(user_id).number == 2


@on_one_database
def test_export_writes_a_zip_and_overwrites_nothing(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "anna.zip"
    run("users", "export", ANNA, "--to", str(file))
    with zipfile.ZipFile(file) as archive:
        tables = json.loads(archive.read("export.json"))["tables"]
    assert (len(tables["feedback"]), len(tables["adapters"])) == (80, 2)
    assert "exists" in run("users", "export", ANNA, "--to", str(file), exit_code=1)


@on_one_database
def test_erase_leaves_no_user(run: Run) -> None:
    run("users", "erase", ANNA, "--yes")
    assert "does not exist" in run("users", "show", ANNA, exit_code=1)


def test_database_commands_tell_the_revision(run: Run) -> None:
    shown = run("db", "current", "--json")
    assert shown["current"] == shown["head"]
    assert "expects" in run("db", "check")


def test_doctor_is_content_with_a_whole_deployment_and_names_what_is_missing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = {f["what"]: f for f in run("doctor", "--json")}
    assert findings["database"]["state"] == findings["base model"]["state"] == "ok"
    assert "efficientnet-lite2" in findings["weights of lite2"]["detail"]
    with monkeypatch.context() as narrow:
        narrow.setattr("paaplus.cli.doctor.console", Console(width=60))
        assert "…" not in run("doctor"), "a command that is cut cannot be followed"
    monkeypatch.setenv("PAAPLUS_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("PAAPLUS_DEFAULT_BASE_MODEL", "absent")
    get_settings.cache_clear()
    told = run("doctor", exit_code=1)
    assert "127.0.0.1:1" in told
    assert "base-models train" in told


@on_one_database
def test_base_models_are_listed(run: Run) -> None:
    assert run("base-models", "list", "--json")[0]["name"] == "tiny"
    assert "[" not in run("base-models", "list"), "aspects are words, not JSON"
    assert "tiny" in run("base-models", "list")


@on_one_database
def test_help_is_there(run: Run) -> None:
    for group in ("", "db", "keys", "users", "images", "feedback", "adapters", "jobs", "base-models"):
        assert "Usage" in run(*group.split(), "--help"), group
