"""Commands that are called in the wrong folder or with the wrong words: what they say, and that they make nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paaplus.cli import main as cli
from paaplus.db.engine import Database
from paaplus.errors import Unavailable
from paaplus.services.operations import export
from paaplus.services.users import users
from paaplus.settings import Settings, get_settings

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str, exit_code: int = 1) -> str:
        monkeypatch.setattr(sys, "argv", ["paaplus", *arguments])
        get_settings.cache_clear()
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        assert ending.value.code == exit_code, printed.err
        return " ".join((printed.out + printed.err).split())

    return call


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, and no settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("PAAPLUS_HOME", "PAAPLUS_DATABASE_URL", "PAAPLUS_STORAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


COMMANDS = [
    "users list",
    "users show shop/ada",
    "keys list",
    "images list",
    "jobs list",
    "audit list",
    "base-models list",
    "priors list",
    "experts list",
    "surveys list",
    "tools list",
    "reviews list",
    "adapters list shop/ada",
    "db check",
    "db downgrade base",
    "base-models train lite2 --builtin",
    "backup copy",
    "feedback list shop/ada",
    "score",
    "maintain",
    "audit verify",
    "bench seed --users 1",
    "tools label generic",
    "webhooks add https://hooks.example/x",
    "api",
    "worker",
    "scheduler",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_place_that_was_looked_at_is_named_and_nothing_is_made(elsewhere: Path, run: Run, command: str) -> None:
    words = command.split()
    if command == "score":
        (elsewhere / "a.png").write_bytes(b"not read")
        words.append("a.png")
    before = sorted(elsewhere.rglob("*"))
    told = run(*words)
    assert f"no database at {elsewhere / 'var' / 'paaplus.db'}" in told
    assert "PAAPLUS_HOME" in told
    assert "paaplus up" in told
    assert sorted(elsewhere.rglob("*")) == before


def test_doctor_and_current_revision_make_nothing_either(elsewhere: Path, run: Run) -> None:
    told = run("doctor", "--json")
    assert f'"none at {elsewhere / "var" / "paaplus.db"}"' in told
    assert list(elsewhere.iterdir()) == []
    assert "current" in run("db", "current", exit_code=0)
    assert list(elsewhere.iterdir()) == []


def test_doctor_leaves_nothing_in_the_storage(elsewhere: Path, run: Run) -> None:
    (elsewhere / "var" / "blobs").mkdir(parents=True)
    run("doctor")
    assert [file for file in (elsewhere / "var" / "blobs").rglob("*") if file.is_file()] == []


def test_base_model_needs_data(elsewhere: Path, run: Run) -> None:
    told = run("base-models", "train", "lite2", exit_code=2)
    for part in ("neither is given", "--data DIR", "images/ and", "--builtin", "simulated people"):
        assert part in told.replace("│ ", "")


def test_restore_names_what_it_needs(elsewhere: Path, run: Run, settings: Settings) -> None:
    (elsewhere / "backups" / "monday").mkdir(parents=True)
    (elsewhere / "backups" / "monday" / "manifest.json").write_text("{}")
    told = run("restore", "backups")
    assert "give the folder that `paaplus backup FOLDER` wrote; inside of it are monday" in told
    assert not (elsewhere / "var" / "paaplus.db").exists()


@pytest.fixture
def shop(elsewhere: Path, migrate_sqlite: Callable[[str], None]) -> Path:
    """A deployment in the current folder, with the users shop/ada and studio/ada."""
    url = Settings(home=elsewhere / "var").resolved_database_url
    migrate_sqlite(url)
    database = Database(url)
    with database.session() as session:
        for application in ("shop", "studio"):
            users.create(session, application=application, external_id="ada")
    database.dispose()
    return elsewhere


def test_user_is_found_by_what_was_typed(shop: Path, run: Run) -> None:
    assert "name a user by UUID or as APPLICATION/EXTERNAL_ID: there is studio/ada, shop/ada" in run(
        "users", "show", "ada"
    )
    assert "there is studio/ada, shop/ada" in run("users", "show", "shoop/ada")
    assert "`paaplus users list` shows them" in run("users", "show", "bob")
    assert "shop" in run("users", "show", " shop/ada ", exit_code=0)


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("strategy=replay", """write --set '{"strategy": "replay"}'"""),
        ("min_new_feedback=40", """write --set '{"min_new_feedback": 40}'"""),
        ("replay", """for example --set '{"strategy": "replay_ewc"}'"""),
        ("[1]", """for example --set"""),
        ('{"strategy": "ewc", "strategy": "replay"}', "strategy occurs twice"),
    ],
)
def test_policy_says_how_json_is_written(shop: Path, run: Run, given: str, advice: str) -> None:
    assert advice in run("users", "policy", "shop/ada", "--set", given)


def test_home_in_an_option_is_no_folder_called_tilde(
    shop: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "me").mkdir()
    run("users", "export", "shop/ada", "--to=~/ada.zip", exit_code=0)
    assert (tmp_path / "me" / "ada.zip").is_file()
    assert not (shop / "~").exists()


def test_numbers_of_options_are_not_guessed(elsewhere: Path, run: Run) -> None:
    for wrong in ("1_0", "١", " 5"):
        assert f"{wrong!r} is not a whole number" in run("jobs", "list", "--limit", wrong, exit_code=2)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [("users", "list", "--application"), ("users", "show"), ("images", "list", "--search"),
     ("surveys", "show"), ("base-models", "show"), ("adapters", "list")],
)  # fmt: skip
def test_bytes_that_are_no_text_are_named(shop: Path, run: Run, command: tuple[str, ...]) -> None:
    told = run(*command, "\udcff", exit_code=2)
    assert "Traceback" not in told
    assert "is not UTF-8" in told


def told_plainly(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("tools", "labels", "--limit", "3", "--limit=1"), "'--limit': is given 2 times; once is needed"),
        (("evaluate", "kshot", "--data", ".", "--people-prior", "--no-people-prior"), "is given 2 times"),
        (("tools", "labels", "--tool", ""), "'--tool': is empty: leave it out, or give a value"),
        (("tools", "import", " "), "'file': is empty: give a value"),
        (("evaluate", "kshot", "--data", ""), "'--data': is empty"),
        (("users", "list", "--application="), "'--application': is empty"),
        (("score", "~nobody-of-this-name/a.jpg"), "home directory"),
    ],
)
def test_what_is_given_twice_or_empty_is_refused(elsewhere: Path, run: Run, command: tuple[str, ...], why: str) -> None:
    assert why in told_plainly(run(*command, exit_code=2))
    assert list(elsewhere.iterdir()) == []


def test_what_may_be_repeated_is_not_refused(shop: Path, run: Run) -> None:
    run("users", "list", "--json", "--json", exit_code=0)
    experts = ("--expert", "shop/ada", "--expert", "studio/ada")
    assert "no base model" in run("reviews", "create", "monday", *experts, "--application", "shop")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("score a.png --base-model starter --preference 1,1,1,1,1", "'--preference': has no effect here"),
        ("base-models train lite2 --builtin --scale 1,5", "'--scale': has no effect here"),
        ("base-models train lite2 --builtin --epochs 5", "'--epochs': has no effect here"),
        ("base-models train physiqueframe --split expert --data . --strict", "'--strict': has no effect here"),
        ("priors train --data . --all-applications", "'--all-applications': has no effect here"),
        ("priors train --from-users --scale 1,5", "'--scale': has no effect here"),
        ("priors train --from-users --application a --all-applications", "'--application': has no effect here"),
        ("evaluate reviews --data . --pairs a:b", "'--pairs': has no effect here"),
        ("evaluate reviews --tool-labels a.png --seeds 1", "'--seeds': has no effect here"),
        ("evaluate robustness --tool generic --max-rise 1,2", "'--max-rise': has no effect here"),
        ("evaluate robustness --user p --data . --aspect x", "'--aspect': has no effect here"),
        ("evaluate piaa ava . --shots 5", "'--shots': has no effect here"),
        ("rate . --from-xmp --num 3", "'--num': has no effect here"),
    ],
)
def test_options_without_effect_are_refused(elsewhere: Path, run: Run, command: str, why: str) -> None:
    (elsewhere / "a.png").write_bytes(b"not read")
    before = sorted(elsewhere.rglob("*"))
    assert why in told_plainly(run(*command.split(), exit_code=2))
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("rank empty", "has no photograph"),
        ("rate empty", "has no photograph"),
        ("rank photos --user ../../x", "it stands in URLs"),
        ("rate photos --user a/b", "it stands in URLs"),
        ("rank photos --csv none/x.csv", "there is no folder"),
        ("rank photos --sheet none/x.html", "there is no folder"),
        ("rank photos --csv x --sheet ./x", "name the same path"),
        ("rate photos --open no-such-program", "there is no such program"),
        ("rate photos --open 'feh", "No closing quotation"),
        ("evaluate kshot --data empty --out report", "is not a folder"),
        ("evaluate robustness --user p --data empty --out report", "is not a folder"),
        ("evaluate kshot --data empty --out photos/a.jpg/report", "photos/a.jpg is no folder"),
        ("evaluate piaa eva empty --out report", "is not a folder"),
    ],
)
def test_what_is_cheap_to_see_is_refused_before_anything_is_made(
    elsewhere: Path, run: Run, command: str, why: str
) -> None:
    for name in ("empty", "photos"):
        (elsewhere / name).mkdir()
    (elsewhere / "photos" / "a.jpg").write_bytes(b"not read")
    before = sorted(elsewhere.rglob("*"))
    assert why in run(*command.split())
    assert sorted(elsewhere.rglob("*")) == before


def test_tilde_is_the_home_in_every_path(elsewhere: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(elsewhere / "me"))
    told = told_plainly(run("tools", "import", "~/labels.csv", exit_code=2))
    assert f"{elsewhere / 'me' / 'labels.csv'}".replace(" ", "") in told.replace(" ", "")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        *(
            (f"{command} {name}nope", "there is no application 'nope'; there are: shop, studio")
            for command, name in (
                ("tools label generic", "--application "),
                ("tools learn generic", "--application "),
                ("tools retire generic 1", "--application "),
                ("tools import labels.csv", "--application "),
                ("reviews create one --expert shop/ada", "--application "),
                ("priors train --from-users", "--application "),
                ("feedback import full.csv --scale 1,5 --aspect beauty", "--application "),
                ("experts agreement", ""),
            )
        ),
        ("tools labels --tool nope", "tool 'nope' does not exist; known: generic"),
        ("tools revisions --tool nope", "tool 'nope' does not exist; known: generic"),
        ("tools import empty.csv --application shop", "empty.csv: no rows below the first line"),
        ("webhooks add https://example.com/x --application a?b", "application 'a?b'"),
        ("webhooks add https://example.com/x --kind job.failed --kind job.failed", "none twice"),
        ("webhooks remove 0197f000-0000-7000-8000-000000000000", "does not exist"),
        ("users erase shop/nobody", "does not exist"),
        ("users export shop/ada --to none/ada.zip", "there is no folder"),
    ],
)
def test_names_that_nothing_has_are_told_before_anything_is_asked_or_done(
    shop: Path, run: Run, command: str, why: str
) -> None:
    (shop / "empty.csv").write_text("image,beauty\n")
    (shop / "full.csv").write_text("user_id,image,rating\nada,a.jpg,3\n")
    (shop / "labels.csv").write_text("image,beauty\na.jpg,4\n")
    assert why in run(*command.split())
    assert "[]" in run("webhooks", "list", "--json", exit_code=0)
    assert "[]" in run("jobs", "list", "--json", exit_code=0)


def test_webhook_that_is_there_is_not_added_again(shop: Path, run: Run) -> None:
    run("webhooks", "add", "https://example.com/x", "--application", "shop", exit_code=0)
    assert "of the same events already" in run("webhooks", "add", "https://example.com/x", "--application", "shop")
    run("webhooks", "add", "https://example.com/x", "--application", "studio", exit_code=0)
    run("webhooks", "add", "https://example.com/x", "--application", "shop", "--kind", "job.failed", exit_code=0)


def test_export_that_breaks_off_leaves_no_file(shop: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: object) -> None:
        raise Unavailable("the storage does not answer")

    monkeypatch.setattr(export, "write_zip", break_off)
    assert "the storage does not answer" in run("users", "export", "shop/ada", "--to", "ada.zip")
    assert not (shop / "ada.zip").exists()


def test_a_word_that_is_no_choice_is_told_without_words_of_the_framework(run: Run, elsewhere: Path) -> None:
    told = run("jobs", "list", "--state", "nope", exit_code=2)
    assert "Invalid value for '--state': 'nope' is not one of" in told.replace("│ ", "")
