"""`paaplus demo` as a person runs it: on the built-in set, and its stages on real people's ratings where they are.

Both have fewer pictures than by default, which `--variants` and data folders are for: a picture costs a sixth of a
second of the processor, and shows nothing that another one has not shown.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import statistics
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

NEEDED = {"people", "num_users", "num_scenes", "srcc_generic", "srcc_personal", "srcc_by_increment", "users_better",
          "forgetting", "gate_refused", "rollback_bit_for_bit", "seconds_per_user", "bytes_per_user"}  # fmt: skip

NUM_VARIANTS = 7  # of each scene: the fewest with three increments of 40 ratings, and 40 images left to rate at random
MIN_BETTER = 10  # of 12; how many real people are better is what test_oasis.py judges, on many


def oasis() -> Path:
    folder = os.environ.get("PAAPLUS_TEST_OASIS")
    if not folder:
        pytest.skip("set PAAPLUS_TEST_OASIS to a folder with images/ and ratings.csv of real people")
    return Path(folder)


def one_list(source: Path, folder: Path) -> Path:
    """A data folder of the images that one person rated, and of the people who rated nearly all of them."""
    with (source / "ratings.csv").open(newline="") as file:
        rows = [(row["user_id"], row["image"], row["rating"]) for row in csv.DictReader(file)]
    rated = defaultdict(set)
    for user, image, _ in rows:
        rated[user].add(image)
    images = rated[rows[0][0]]
    people = {user for user, own in rated.items() if len(own & images) > 0.9 * len(images)}
    (folder / "images").mkdir(parents=True)
    for image in images:
        (folder / "images" / image).symlink_to(source / "images" / image)
    with (folder / "ratings.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("user_id", "image", "rating"), *(row for row in rows if row[0] in people and row[1] in images)]
        )
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_demo_makes_people_better_served_and_rolls_back_bit_for_bit(tmp_path: Path) -> None:
    """What a fresh machine sees: no features are there before it."""
    home = tmp_path / "demo" / "home"
    small = ["--variants", str(NUM_VARIANTS)]
    command = [Path(sys.executable).with_name("paaplus"), "demo", "--folder", tmp_path / "demo", *small]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert set(report) >= NEEDED
    assert report["people_kind"] == "simulated"
    assert report["num_users"] == 12
    assert report["rollback_bit_for_bit"] is True
    assert report["rollback_not_undone"] is True
    low, high = report["gain"]["interval"]
    assert 0.0 < low < high, report["gain"]
    assert report["gain"]["mean"] > 0
    assert report["forgetting"] <= 0.02
    assert report["users_better"] >= MIN_BETTER
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "<svg" in page
    assert "simulated" in page
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert left == "", "the demo left processes behind"
    assert len(report["trio"]["people"]) == 3
    for shown in report["trio"]["people"]:
        assert shown["personal"][0] == shown["generic"]
    assert report["rubbish"]["refused"] is True, report["rubbish"]
    assert report["rubbish"]["srcc_after"] > report["rubbish"]["srcc_before"] - 0.05
    with closing(sqlite3.connect(home / "paaplus.db")) as rows:
        uploaded = {sha256 for (sha256,) in rows.execute("SELECT upload_sha256 FROM images")}
    extracted = {file.stem for file in (home / "cache").rglob("*.safetensors")}
    assert len(uploaded) > 38 * NUM_VARIANTS
    assert not uploaded & extracted, "what the platform has extracted is extracted again"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_stages_from_labels_over_experts_and_a_quiz_to_better_scores(tmp_path: Path) -> None:
    """Tools label, two experts review, models are built; new users take a quiz, are matched, teach on, are better."""
    # on real people where they are, else on simulated ones: what is asked of both is the same
    source = "oasis" if os.environ.get("PAAPLUS_TEST_OASIS") else "built-in"
    data = ["--data", str(one_list(oasis(), tmp_path / "data"))] if source == "oasis" else ["--variants", "4"]
    command = [Path(sys.executable).with_name("paaplus"), "demo", "--stages", "--folder", tmp_path / "demo", *data]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo" / "stages.json").read_text())
    assert report["people"] == ("real" if source == "oasis" else "simulated")
    assert len(report["experts"]) == 2
    for expert in report["experts"]:
        assert expert["num_reviewed"] == 60
        assert 0 < expert["num_accepted"] < 60
        assert expert["model_version"] >= 1
    assert report["agreement"][0]["num_images"] >= 20
    assert len(report["users"]) == 8
    for user in report["users"]:
        assert 4 <= user["num_pairs"] <= 12
        assert user["quiz_finished"]
        assert user["match"] in ("generic", "expert", "combination")
        assert user["reason"]
        assert (user["matched_version"], user["first_source"], user["versions"][0]) == (0, "match", 0)
    # whose ratings say little of their ratings of other images is kept at the match by the gate
    assert sum(user["versions"][-1] >= 1 for user in report["users"]) >= 6
    assert report["gain"]["final"]["mean"] > 0
    # What is held out is drawn by ids, which are new in each run: it moves this mean of eight by a hundredth.
    taught_N = [user["srcc"][-1] - user["srcc"][0] for user in report["users"]]
    assert statistics.mean(taught_N) > -2 * statistics.stdev(taught_N) / len(taught_N) ** 0.5, "teaching on harms"
    assert report["users_better"] >= 5
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert left == "", "the stages left processes behind"
