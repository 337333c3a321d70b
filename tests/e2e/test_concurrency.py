"""Many processes and threads at the same user: one training at a time, one line of versions, everybody their own."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.chaos import invariants
from paaplus.chaos.oracle import Oracle
from paaplus.db.engine import Database
from paaplus.db.tables import JobRow, RunRow
from paaplus.errors import Conflict, InvalidInput, LeaseLost, NotFound
from paaplus.pipelines import adapt
from paaplus.pipelines.context import Running
from paaplus.queue import jobs
from paaplus.services import scheduling
from paaplus.services.adapters import rollbacks, versions
from paaplus.services.predictions.answers import Target
from paaplus.services.predictions.predict import Predictor
from paaplus.settings import Settings
from tests.support import acts
from tests.support.deployment import Deployment
from tests.support.forks import Fork
from tests.support.processes import wait_until

NUM_WORKERS, NUM_SCHEDULERS = 3, 2
REFUSED = (Conflict, InvalidInput, NotFound)  # an act that another one has just made pointless


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=database_url, retry_base_s=0.01, scan_interval_s=0.1)


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def all_at_once(*acts: Callable[[], object]) -> list[object]:
    """What each gives, or the error of ours that it raised; all start at the same moment."""
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> object:
        start.wait()
        try:
            return act()
        except (LeaseLost, *REFUSED) as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def broken_promises(deployment: Deployment) -> list[str]:
    """What the rows contradict themselves in, as chaos looks at them."""
    with deployment.database.read_session() as session:
        oracle = Oracle(session, deployment.blobs)
        checks = [
            invariants.gapless_logs(session),
            invariants.gapless_versions(session),
            invariants.one_active_version(session, oracle),
            invariants.consistent_history(session),
            invariants.one_lineage(session),
            invariants.one_effect_per_job(session),
        ]
    assert sum(check.num_checked for check in checks) > 0
    return [problem for check in checks for problem in check.problems]


def workers_of_jobs(deployment: Deployment) -> set[str]:
    with deployment.database.read_session() as session:
        return {job.worker for job in session.execute(sa.select(JobRow)).scalars() if job.worker}


def test_two_schedulers_and_three_workers_train_everybody_and_nobody_twice_at_once(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Two users never stop talking; the quiet ones get their turn all the same, and the work is shared."""
    chatty = [deployment.add_user(f"chatty{i}", min_new_feedback=2) for i in range(2)]
    quiet = [deployment.add_user(f"quiet{i}", min_new_feedback=10) for i in range(10)]
    for user in quiet:
        deployment.rate(user, range(20))
    end = tmp_path / "end"
    in_twos = deployment.settings.model_copy(update={"claim_size": 2})  # one claim of all would leave nothing to share
    forks = [Fork(acts.work_until, in_twos, end) for _ in range(NUM_WORKERS)]
    forks += [Fork(acts.scan_until, deployment.settings, end) for _ in range(NUM_SCHEDULERS)]
    turns = itertools.cycle(range(0, 100, 4))

    def are_trained() -> bool:
        """Looked at between two more words of the chatty."""
        turn = next(turns)
        for user in chatty:
            deployment.rate(user, range(turn, turn + 4), prefix=f"{time.monotonic_ns()}-")
        return (
            all(deployment.user(user).trained_sequence == 20 for user in quiet)
            and all(len(deployment.versions(user)) > 2 for user in chatty)
            and len(workers_of_jobs(deployment)) > 1
        )

    wait_until("everybody is trained", are_trained)
    end.touch()
    assert [fork.wait() for fork in forks] == [0] * len(forks)
    assert [len(deployment.versions(user)) for user in quiet] == [1] * len(quiet)
    with deployment.database.read_session() as session:
        runs = session.execute(sa.select(RunRow.user_id, RunRow.started_at, RunRow.finished_at)).all()
    for user in chatty:
        spans = sorted((start, end) for user_id, start, end in runs if user_id == user)
        assert len(spans) > 2
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans)), "two at once"
    assert broken_promises(deployment) == []


def test_one_job_delivered_to_many_at_once_has_one_effect(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    scheduling.scan(deployment.database, deployment.settings)
    lease = jobs.claim(deployment.database, worker="w", queues=["cpu"], lease_s=30)
    assert lease is not None
    results = all_at_once(*[lambda: adapt.run(Running(deployment.context, lease))] * 4)
    assert sum(isinstance(result, LeaseLost) for result in results) == 3, results
    assert [v.number for v in deployment.versions(user)] == [1]
    assert broken_promises(deployment) == []


def test_admins_and_trainings_at_once_leave_one_line_of_versions(deployment: Deployment) -> None:
    """Barrier-started promotions, rollbacks, pins and trainings of one user, again and again."""
    user = deployment.add_user(min_new_feedback=1)
    for part in (range(20), range(20, 40)):
        deployment.rate(user, part)
        deployment.work()

    def act(kind: str, number: int) -> object:
        with deployment.database.session() as session:
            if kind == "rollback":
                return rollbacks.rollback(session, user, actor="a", reason="r", feedback="keep")
            if kind == "unpin":
                return versions.unpin(session, user, actor="a", reason="r")
            move = versions.promote if kind == "promote" else versions.pin
            return move(session, user, number, actor="a", reason="r")

    dice = random.Random(5)
    outcomes: list[object] = []
    for turn in range(8):
        deployment.rate(user, range(40 + 5 * turn, 45 + 5 * turn))
        kinds = [dice.choice(["rollback", "promote", "pin", "unpin"]) for _ in range(3)]
        outcomes += all_at_once(
            deployment.work,
            *[lambda k=k: act(k, dice.randint(1, 3)) for k in kinds],  # type: ignore[misc]
        )
    assert sum(isinstance(outcome, versions.PointerChange) for outcome in outcomes) >= 8
    deployment.work()
    assert len(deployment.versions(user)) > 2
    assert broken_promises(deployment) == []


def test_predictions_in_a_storm_of_swaps_are_bit_for_bit_of_the_version_they_name(deployment: Deployment) -> None:
    users = [deployment.add_user(f"user{i}") for i in range(4)]
    for user, part in [(u, p) for p in (range(30), range(30, 60)) for u in users]:
        deployment.rate(user, part, seed=users.index(user))
        deployment.work()
    targets = [Target(user, image) for user in users for image in deployment.images[60:70]]
    answers: list[tuple[UUID, UUID, int, dict[str, float]]] = []
    done = threading.Event()

    def ask() -> None:
        predictor = Predictor(deployment.database, deployment.blobs, deployment.settings)
        while not done.is_set():
            answer = predictor.answer(targets)
            answers.extend(
                (i.user_id, i.image_id, i.adapter.number if i.adapter else 0, i.scores or {}) for i in answer.items
            )

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    dice = random.Random(3)
    turns, limit = 0, time.monotonic() + 120  # a bound in time: on a busy machine few answers fit into many turns
    while time.monotonic() < limit and (turns <= 25 or {number for _, _, number, _ in answers} != {0, 1, 2}):
        turns += 1
        user = dice.choice(users)
        with deployment.database.session() as session:
            live = versions.active(session, user)
            if live is not None and dice.random() < 0.5:
                rollbacks.rollback(session, user, to=0 if live.number == 1 else None, actor="a", reason="r")
            else:
                versions.promote(
                    session, user, 1 if live is not None and live.number == 2 else 2, actor="a", reason="r"
                )
    done.set()
    for thread in threads:
        thread.join()
    with deployment.database.read_session() as session:
        oracle = Oracle(session, deployment.blobs)
    assert [a for a in answers if a[3] != oracle.scores(a[0], a[2], a[1])] == []
    assert {number for _, _, number, _ in answers} == {0, 1, 2}, "the storm showed every version"
    assert broken_promises(deployment) == []
