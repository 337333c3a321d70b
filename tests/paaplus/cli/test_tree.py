"""What `paaplus --help` lists, and how little a command loads before it works."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, get_args

import pytest
from typer.core import TyperGroup

from paaplus.cli import common, experts, jobs, keys, reviews, surveys, tree
from paaplus.db.tables.experts import ExpertForm, MatchKind
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.jobs import JobState
from paaplus.db.tables.reviews import ReviewOrder
from paaplus.services.reviews import batches
from paaplus.services.surveys import forms
from paaplus.services.users.keys import OPERATOR

HEAVY = ("torch", "torchvision", "timm", "avalanche", "numpy", "scipy", "PIL", "matplotlib", "sqlalchemy", "alembic",
         "celery", "fastapi", "obstore")  # fmt: skip
LOADED_BY = """
import json, sys
from paaplus.cli import main
sys.argv = ["paaplus", *sys.argv[1:]]
try:
    main.main()
except SystemExit as ending:
    assert ending.code == 0, ending.code
print("\\n" + json.dumps(sorted(sys.modules)))
"""


def leaves(command: Any, *path: str) -> list[tuple[str, ...]]:
    """The commands below a group, each as the words that invoke it."""
    if not isinstance(command, TyperGroup):
        return [path]
    return [leaf for name, each in command.commands.items() for leaf in leaves(each, *path, name)]


@pytest.mark.parametrize("name", tree.COMMANDS)
def test_line_in_the_help_is_how_the_help_of_the_command_begins(name: str) -> None:
    told = " ".join(tree.load(name).help.split())
    assert told.startswith(" ".join(tree.COMMANDS[name].help.split()))


def loaded_by(*arguments: str) -> set[str]:
    """The modules in memory after `paaplus ARGUMENTS`, which must end with exit code 0."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED_BY, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("--version",), ("--help",)])
def test_root_loads_nothing_that_is_heavy_and_no_command(arguments: tuple[str, ...]) -> None:
    loaded = loaded_by(*arguments)
    assert loaded.isdisjoint(HEAVY)
    assert "pydantic" not in loaded
    assert {module for module in loaded if module.startswith("paaplus.")} == {
        "paaplus.cli", "paaplus.cli.main", "paaplus.cli.tree", "paaplus.errors", "paaplus.garbage",
    }  # fmt: skip


def test_help_of_every_command_loads_nothing_that_is_heavy() -> None:
    """One process for all of them: a heavy import of any stays in memory."""
    program = """
import contextlib, io, json, sys
from paaplus.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["paaplus", *words, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as help_text, contextlib.suppress(SystemExit):
        main.main()
    assert "Usage:" in help_text.getvalue(), words
    heavy = [name for name in HEAVY if name in sys.modules]
    assert not heavy, (words, heavy)
""".replace("HEAVY", repr(HEAVY))
    commands = [leaf for name in tree.COMMANDS for leaf in leaves(tree.load(name), name)]
    assert ("keys", "create") in commands
    assert ("evaluate", "kshot") in commands
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(commands)], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr


def test_module_of_a_service_is_loaded_when_it_is_used(settings_home: Any) -> None:
    assert loaded_by("db", "upgrade") >= {"sqlalchemy", "alembic"}
    assert loaded_by("keys", "list").isdisjoint({"torch", "numpy", "PIL", "celery", "alembic"})


def test_choices_and_bounds_of_options_are_those_of_the_services() -> None:
    """They are written twice, because the services' modules load SQLAlchemy."""
    for choices, enum in [
        (keys.Scope, KeyScope),
        (jobs.State, JobState),
        (experts.Form, ExpertForm),
        (experts.Kind, MatchKind),
        (reviews.Order, ReviewOrder),
    ]:
        assert get_args(choices) == tuple(enum)
    assert (reviews.MAX_IMAGES, surveys.MAX_ITEMS) == (batches.MAX_IMAGES, forms.MAX_ITEMS)
    assert common.ACTOR == OPERATOR.actor


@pytest.fixture
def settings_home(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path))
    monkeypatch.delenv("PAAPLUS_DATABASE_URL", raising=False)
