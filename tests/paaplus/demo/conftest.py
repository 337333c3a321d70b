"""A demo that was never run: planned on a small data folder, with canned scores and versions."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.data.folder import DataFolder, read_folder
from paaplus.demo.loop import Served
from paaplus.demo.plan import Person, make_plan
from paaplus.demo.report.build import Run
from paaplus.demo.rollback import Proof
from paaplus.demo.rubbish import Refusal
from tests.support.taste_data import simulate, write_folder


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory) -> DataFolder:
    path = tmp_path_factory.mktemp("demo") / "data"
    return read_folder(write_folder(path, simulate(num_people=8), images_per_scene=5))


@pytest.fixture
def proof() -> Proof:
    history = [
        {"created_at": "2026-11-22T12:00:00", "move": "rolled_back", "from": 3, "to": 2, "actor": "operator",
         "reason": "demo: the last update is not wanted"},
    ]  # fmt: skip
    return Proof(
        user_id="u01",
        from_number=3,
        to_number=2,
        bit_for_bit=True,
        num_scores=90,
        num_changed_between=88,
        num_excluded=20,
        quiet_scans=3,
        new_ratings=8,
        next_version=4,
        next_parent=2,
        next_num_ratings=38,
        old_num_ratings=32,
        next_is_live=True,
        not_undone=True,
        history=history,
    )


@pytest.fixture
def canned_run(small_folder, proof) -> Run:
    """Round 0 serves noise (the generic score); each round moves a third of the way to the person's ratings."""
    plan = make_plan(small_folder, num_people=4, increment_size=20, seed=1)
    rng = np.random.default_rng(0)
    generic = {image: {"beauty": float(rng.uniform(2, 8))} for image in small_folder.images}
    run = Run(
        folder=small_folder,
        is_builtin=False,
        plan=plan,
        base_model={"name": "lite", "version": 1, "digest": "d" * 64, "aspects": ["beauty"]},
        proof=proof,
        rubbish=Refusal("u02", 20, 20, "Quarantined: 20 events <follow> no order.", 3, 4, 0.5, 0.52),
        seconds={"data": 0.5, "rollback": 3.25},
    )
    for number in range(4):
        run.rounds.append({p.user_id: _served(small_folder, p, generic, number) for p in plan.people})
    refused = {**_version(3), "state": "rejected", "promoted": False, "reason": "Refused. <worse> on 9 ratings."}
    for place, person in enumerate(plan.people):
        versions = [_version(1), _version(2), refused if place == 0 else _version(3)]
        run.learned[person.user_id] = {"versions": versions, "num_trainings": 3, "training_seconds": 0.25 + place}
    return run


def _served(folder: DataFolder, person: Person, generic: dict[str, dict[str, float]], number: int) -> Served:
    scores = {}
    for image in person.images:
        target = folder.scale.to_score(person.ratings[image]["beauty"])
        share = number / 3
        scores[image] = {"beauty": (1 - share) * generic[image]["beauty"] + share * target}
    digest = f"{number}" * 64 if number else None
    shown = {image: generic[image] for image in person.images}
    return Served(number, digest, "d" * 64, scores, shown, {image: f"receipt-{image}" for image in person.images})


def _version(number: int) -> dict[str, object]:
    return {
        "number": number,
        "state": "active" if number == 3 else "retired",
        "num_ratings": 16 * number,
        "size_bytes": 2048,
        "digest": f"{number}" * 64,
        "promoted": True,
        "reason": "Promoted. 0.4 lower.",
    }
