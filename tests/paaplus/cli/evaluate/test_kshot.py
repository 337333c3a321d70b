"""The command as a user types it, with the real network on small pictures."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest
from typer.testing import CliRunner

from paaplus.cli.evaluate.commands import app
from paaplus.errors import InvalidInput
from paaplus.models import base_models
from paaplus.models.base_fit import SmallDataWarning


def invoke(rated_folder, tmp_path_factory, *options):
    cache = tmp_path_factory.getbasetemp() / "evaluate-cache"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallDataWarning)
        return CliRunner().invoke(app, ["kshot", "--data", str(rated_folder), "--cache", str(cache), *options])


def test_json_is_the_whole_output_when_asked_for(rated_folder, tmp_path_factory, tmp_path):
    options = ["--k", "0,8", "--seeds", "3", "--also", "taste_vector:naive", "--limit-people", "3", "--json"]
    files = ["--split", str(rated_folder / "split.py"), "--out", str(tmp_path / "out")]
    done = invoke(rated_folder, tmp_path_factory, *options, *files)
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    rows = [(row["k"], row["seed"], row["num_people"] + row["num_dropped"]) for row in document["rows"]]
    assert rows == [(0, 3, 3), (8, 3, 3)]
    assert "taste_vector:naive" in document["rows"][0]
    assert document["config"]["base_model"] == "lite2"
    assert document["config"]["split"].endswith("split.py")
    assert json.loads((tmp_path / "out" / "kshot.json").read_text()) == document


def test_table_is_shown_when_json_is_not_asked_for(rated_folder, tmp_path_factory):
    done = invoke(rated_folder, tmp_path_factory, "--k", "4", "--seeds", "0", "--scale", "1,5")
    assert done.exit_code == 0, done.stderr
    assert "taste_vector:bayes" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--k", "ten"], "--k 'ten'"),
        (["--seeds", ""], "--seeds ''"),
        (["--strategy", "magic"], "taste_vector:magic"),
        (["--also", "bottleneck:bayes"], "bottleneck:bayes"),
        (["--scale", "1,3"], "outside the scale"),
    ],
)
def test_mistake_is_an_error_with_the_value(rated_folder, tmp_path_factory, options, message):
    done = invoke(rated_folder, tmp_path_factory, *options)
    assert isinstance(done.exception, InvalidInput)
    assert message in str(done.exception)


def test_folder_that_cannot_be_written_is_told_before_anything_is_measured(rated_folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("paaplus.evaluation.kshot.run.run_kshot", lambda *_args, **_options: pytest.fail("measured"))
    out, cache = tmp_path / "file" / "out", tmp_path / "cache"
    done = CliRunner().invoke(app, ["kshot", "--data", str(rated_folder), "--out", str(out), "--cache", str(cache)])
    assert isinstance(done.exception, InvalidInput)
    assert str(out) in str(done.exception)


def _copy(folder, to, ratings):
    shutil.copytree(folder / "images", to / "images")
    (to / "ratings.csv").write_text("\n".join(["user_id,image,rating", *ratings]))
    return to


def rated_by(people, images=24, rating=lambda person, image: 1 + (person + image) % 5):
    return [f"p{p},{i:02d}.png,{rating(p, i)}" for p in range(people) for i in range(images)]


@pytest.mark.parametrize(
    ("ratings", "options", "message"),
    [
        (rated_by(3), [], "3 people with varied ratings"),
        (rated_by(1), [], "1 people with varied ratings"),
        ([f"p{p},00.png,{1 + p}" for p in range(5)], [], "0 people with varied ratings"),
        (rated_by(8, 3), [], "a base model needs 4"),
        (rated_by(8), ["--also", "taste_vector:bayes+prior"], "a taste prior needs 50"),
        ([*rated_by(8), "p1,99.png,3"], [], "line 194: image '99.png' is not in images/"),
        ([*rated_by(8), "p9,00.png,1_0"], [], "line 194: column 'rating': '1_0' is not a number"),
    ],
)
def test_what_ratings_alone_tell_is_refused_before_any_feature(
    rated_folder, tmp_path, monkeypatch, ratings, options, message
):
    monkeypatch.setattr(base_models, "load_extractor", lambda *_: pytest.fail("an extractor was loaded"))
    data = _copy(rated_folder, tmp_path / "data", ratings)
    done = CliRunner().invoke(app, ["kshot", "--data", str(data), "--cache", str(tmp_path / "cache"), *options])
    assert isinstance(done.exception, InvalidInput), done.exception
    assert message in str(done.exception)
    assert not (tmp_path / "cache").exists()


def test_last_image_that_cannot_be_read_is_refused_before_any_feature(rated_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(base_models, "load_extractor", lambda *_: pytest.fail("an extractor was loaded"))
    data = _copy(rated_folder, tmp_path / "data", rated_by(8))
    (data / "images" / "23.png").write_text("no image")
    done = CliRunner().invoke(app, ["kshot", "--data", str(data)])
    assert isinstance(done.exception, InvalidInput)
    assert "1 rated image(s) cannot be read" in str(done.exception)
    assert "23.png: not a JPEG, PNG or WebP" in str(done.exception)


def test_stray_files_do_not_stop_a_study_unless_it_is_strict(rated_folder, tmp_path_factory, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(rated_folder, data)
    (data / "images" / "._00.png").write_bytes(b"\x00\x05\x16\x07")
    (data / "images" / "zz.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    options = ["--k", "4", "--seeds", "0", "--limit-people", "2"]
    with pytest.warns(UserWarning, match=r"1 file\(s\) skipped") as told:
        done = invoke(data, tmp_path_factory, *options)
    assert done.exit_code == 0, done.exception
    assert [name for name in ("._00.png", "zz.png") if any(name in str(each.message) for each in told)] == [
        "._00.png",
        "zz.png",
    ]
    assert isinstance(invoke(data, tmp_path_factory, *options, "--strict").exception, InvalidInput)
