"""`paaplus tools` and `paaplus reviews`: what an operator does with labels and experts."""

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
from paaplus.db.tables import ImageRow
from paaplus.services.reviews.reviews import Verdict
from paaplus.settings import Settings, get_settings
from tests.support.factories import APPLICATION
from tests.support.reviewing import TOOL, Reviewing

Run = Callable[..., Any]


@pytest.fixture
def world(database: Database, settings: Settings) -> Reviewing:
    return Reviewing(database, settings, num_images=12)


@pytest.fixture
def run(world: Reviewing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line; returns what it printed, read as JSON where it succeeds with --json."""
    monkeypatch.setenv("PAAPLUS_HOME", str(world.settings.home))
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", world.settings.resolved_database_url)

    def call(*arguments: str, exit_code: int = 0) -> Any:
        get_settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["paaplus", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        assert ending.value.code == exit_code, printed.err + printed.out
        return json.loads(printed.out) if "--json" in arguments and exit_code == 0 else printed.out + printed.err

    return call


def test_batches_are_made_shown_and_closed(world: Reviewing, run: Run) -> None:
    common = ("--application", APPLICATION, "--json")
    made = run(
        "reviews",
        "create",
        "first",
        "--expert",
        f"{APPLICATION}/ada",
        "--expert",
        str(world.bob),
        "--overlap",
        "1",
        *common,
    )
    assert made["num_reviews"] == 24
    for expert in (world.ada, world.bob):
        for row in world.reviews_of(expert):
            world.decide(row, Verdict.CORRECT, beauty=world.images.index(row.image_id) * 0.8)
    shown = run("reviews", "show", made["id"], "--json")
    assert [(part["open"], part["done"]) for part in shown["progress"]] == [(0, 12), (0, 12)]
    assert shown["agreement"][0]["icc"] == pytest.approx(1.0)
    assert run("reviews", "close", made["id"], "--json")["closed_at"] is not None
    assert [batch["name"] for batch in run("reviews", "list", "--json")] == ["first"]
    nobody = f"{APPLICATION}/carl"
    assert f"{nobody!r} does not exist" in run("reviews", "create", "b", "--expert", nobody, *common, exit_code=1)


def test_tools_learn_from_reviews_and_forget_again(world: Reviewing, run: Run) -> None:
    world.batch()
    for row in world.reviews_of(world.ada):
        world.decide(row)
    common = (TOOL, "--application", APPLICATION, "--json")
    learned = run("tools", "learn", *common)
    assert (learned["version"], learned["num_reviews"], learned["num_reviews_moved"]) == (1, 12, 0)
    assert [row["version"] for row in run("tools", "revisions", "--json")] == [1]
    assert run("tools", "retire", TOOL, "1", "--application", APPLICATION, "--json")["retired_at"] is not None
    assert "a revision needs 5" in run("tools", "learn", "generic", "--application", APPLICATION, exit_code=1)


def test_labels_are_asked_for_imported_and_listed(world: Reviewing, run: Run, tmp_path: Path) -> None:
    tools = {tool["name"]: tool for tool in run("tools", "list", "--json")}
    assert tools["generic"]["labels"] == ["beauty"]
    job = run("tools", "label", "exposure", "--application", APPLICATION, "--json")
    assert UUID(job["job_id"])
    with world.database.session() as session:
        session.execute(sa.update(ImageRow).where(ImageRow.id == world.images[0]).values(name="a.jpg"))
        session.execute(sa.update(ImageRow).where(ImageRow.id.in_(world.images[1:3])).values(name="twice.jpg"))
    file = tmp_path / "scores.csv"
    file.write_text(f"image,beauty,confidence\na.jpg,7.5,0.9\n{world.images[1]},2,\n")
    arguments = ("tools", "import", str(file), "--tool", "precomputed:paper", "--application", APPLICATION, "--json")
    first = run(*arguments)
    assert (first["new"], first["known"]) == (2, 0)
    assert run(*arguments) == first | {"new": 0, "known": 2}
    labels = {label["image_id"]: label for label in run("tools", "labels", "--tool", "precomputed:paper", "--json")}
    assert labels[str(world.images[0])]["scores"] == {"beauty": 7.5}
    for row, told in (
        ("twice.jpg,1,", "scores.csv: line 2: 2 images named 'twice.jpg'"),
        ("nobody.jpg,1,", "scores.csv: line 2: no image named 'nobody.jpg'"),
        ("a.jpg,12,", "line 2: beauty: a score of 12.0"),
    ):
        file.write_text(f"image,beauty,confidence\n{row}\n")
        assert told in run(*arguments, exit_code=1).replace("\n", " ")
    assert len(run("tools", "labels", "--tool", "precomputed:paper", "--json")) == 2


def test_batch_of_all_that_is_open_is_made_once_under_a_key(world: Reviewing, run: Run) -> None:
    """Without a key, a second call finds that these experts have had all images."""
    command = ("reviews", "create", "first", "--expert", str(world.ada), "--application", APPLICATION, "--json")
    made, again = (run(*command, "--idempotency-key", "r1") for _ in range(2))
    assert made == again
    assert len(run("reviews", "list", "--json")) == 1
    assert "have not had yet" in run(*command, exit_code=1)
    assert "was used for another" in run(*command, "--seed", "3", "--idempotency-key", "r1", exit_code=1)
