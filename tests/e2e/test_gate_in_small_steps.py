"""A running platform over HTTP with the default policy: feedback comes ten by ten, and rubbish serves nobody worse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.metrics import srcc
from paaplus.settings import Settings
from tests.e2e.test_api_process import Api
from tests.support.deployment import Deployment
from tests.support.processes import running, start_scheduler, start_worker, wait_until

RANDOM = ("random0", "random1", "random2", "random3")
COIN, HONEST = "coin", "honest"
STEPS, STEP = 8, 10


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        database_url=database_url,
        broker_url="",
        scan_interval_s=0.3,
        lease_s=10.0,
        device="cpu",
    )


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_nobody_ends_with_worse_scores_for_random_feedback_posted_ten_by_ten(deployment: Deployment) -> None:
    api, names = Api(deployment), (*RANDOM, COIN, HONEST)
    worker, scheduler = start_worker(deployment.settings), start_scheduler(deployment.settings)
    opinions = {name: [deployment.opinion(i, seed=s) for i in range(160)] for s, name in enumerate(names)}
    rng = np.random.default_rng(0)
    with running(api.service, worker, scheduler):
        wait_until("the API answers", api.is_ready)
        for name in names:
            api.post("/v1/users", {"external_id": name})
        for step in range(STEPS):
            for name in names:
                api.post(
                    "/v1/feedback", {"events": [event(deployment, name, i, opinions[name], rng) for i in places(step)]}
                )
            trained = (step + 1) * STEP
            wait_until(
                f"everybody is trained up to {trained}",
                lambda: all(deployment.user(one).trained_sequence >= trained for one in users(deployment, names)),  # noqa: B023
            )
        histories = {name: api.get(f"/v1/users/{name}/history")["items"] for name in names}
        exclusions = {name: api.get(f"/v1/users/{name}/exclusions")["items"] for name in names}
    for name, user in zip(names, users(deployment, names), strict=True):
        truth = np.array(opinions[name][100:])
        served, generic = deployment.scores(user)[100:160, 0], deployment.generic_IA[100:160, 0]
        if name == HONEST:
            assert deployment.active(user) is not None
            assert srcc(served, truth) > srcc(generic, truth)
            assert exclusions[name] == []
        else:
            assert srcc(served, truth) >= srcc(generic, truth) - 0.02, (name, histories[name])
            assert any(entry["move"] == "gate_refused" for entry in histories[name])


def places(step: int) -> range:
    return range(step * STEP, (step + 1) * STEP)


def users(deployment: Deployment, names: tuple[str, ...]) -> list:
    from sqlalchemy import select

    from paaplus.db.tables import UserRow

    with deployment.database.read_session() as session:
        by_name = dict(session.execute(select(UserRow.external_id, UserRow.id)).all())
    return [by_name[name] for name in names]


def event(deployment: Deployment, name: str, place: int, opinions: list[float], rng: np.random.Generator) -> dict:
    aspect = deployment.base.aspects[0]
    common = {"event_id": f"e{place}", "user": name, "image": str(deployment.images[place])}
    if name == COIN:
        better = "first" if rng.random() < 0.5 else "second"
        return common | {
            "kind": "comparison",
            "other_image": str(deployment.images[(place + 31) % 100]),
            "preference": {aspect: better},
        }
    value = opinions[place] if name == HONEST else opinions[int(rng.integers(160))]
    return common | {"kind": "rating", "ratings": {aspect: value}, "scale": {"min": 0, "max": 10}}
