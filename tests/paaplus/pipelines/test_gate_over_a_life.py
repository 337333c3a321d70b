"""The gate over a whole life, through jobs and the database: small steps, quarantine, retirement, every kind."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from uuid import UUID

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.db.tables import ExclusionRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.models import AdapterState
from paaplus.gate import FeedbackVerdict
from paaplus.ids import sha256_hex
from paaplus.metrics import srcc
from paaplus.pipelines import adapt
from paaplus.records import NO_COMPARISONS
from paaplus.scoring import canonical_order, closed_form
from paaplus.scoring.priors import OwnPrior
from paaplus.services.adapters import rollbacks, versions
from paaplus.services.feedback import arrays, exclusions, feedback_log
from paaplus.services.feedback.intake import NewEvent
from paaplus.settings import Settings
from tests.support.deployment import Deployment

STEP = 10


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


@pytest.fixture(params=(("taste_vector", "bayes"), ("taste_vector", "replay_ewc")), ids=lambda pair: pair[1])
def policy(request: pytest.FixtureRequest) -> dict[str, object]:
    adapter, strategy = request.param
    return {"adapter": adapter, "strategy": strategy}


def rate_at_random(deployment: Deployment, user: UUID, images: range, seed: int = 0) -> None:
    """The person's own ratings, in an order that has nothing to do with the images."""
    order = np.random.default_rng(seed).permutation(list(images))
    events = [
        deployment.rating(user, f"x{image}", image, deployment.opinion(int(other)), index)
        for index, (image, other) in enumerate(zip(images, order, strict=True))
    ]
    for start in range(0, len(events), STEP):
        deployment.post(*(replace(event, index=i) for i, event in enumerate(events[start : start + STEP])))
        deployment.work()


def rate_honestly(deployment: Deployment, user: UUID, images: range) -> None:
    for start in range(images.start, images.stop, STEP):
        deployment.rate(user, range(start, start + STEP))
        deployment.work()


def quarantine(deployment: Deployment, user: UUID) -> list[tuple[ExclusionRow, int]]:
    with deployment.database.read_session() as session:
        return [
            (each.exclusion, each.sequence)
            for each in exclusions.list_open(session, user)
            if each.exclusion.actor == "gate"
        ]


def moves(deployment: Deployment, user: UUID) -> list[tuple[str, str]]:
    with deployment.database.read_session() as session:
        return [(row.move, row.reason) for row in reversed(versions.history(session, user))]


def read_log(deployment: Deployment, user: UUID) -> feedback_log.FeedbackLog:
    with deployment.database.read_session() as session:
        row = session.get(type(deployment.user(user)), user)
        return feedback_log.read(session, row, deployment.settings.holdout_key.get_secret_value())


def test_random_ratings_posted_ten_by_ten_end_with_generic_scores(deployment: Deployment, policy: dict) -> None:
    user = deployment.add_user(**policy | {"min_new_feedback": STEP})
    rate_at_random(deployment, user, range(100))
    assert np.array_equal(deployment.scores(user), deployment.generic_IA)
    assert len(deployment.versions(user)) == 10
    assert {row.state for row in deployment.versions(user)} <= {AdapterState.REJECTED, AdapterState.RETIRED}


def test_random_ratings_after_honest_ones_are_quarantined_and_told(deployment: Deployment, policy: dict) -> None:
    user = deployment.add_user(**policy | {"min_new_feedback": STEP})
    rate_honestly(deployment, user, range(50))
    honest = deployment.scores(user)
    assert quarantine(deployment, user) == []
    rate_at_random(deployment, user, range(50, 100))
    kept_out = quarantine(deployment, user)
    assert {sequence for _, sequence in kept_out} >= set(range(61, 101))
    assert kept_out[0][0].reason.startswith("Quarantined: ")
    assert exclusions.kind_of(kept_out[0][0]) == "quarantine"
    assert ("quarantined", kept_out[-1][0].reason) in moves(deployment, user)
    truth = [deployment.opinion(i) for i in range(100, 160)]
    before, after = (srcc(scores[100:160, 0], np.array(truth)) for scores in (honest, deployment.scores(user)))
    assert after > before - 0.02
    assert max(read_log(deployment, user).latest_ratings(), key=lambda r: r.sequence).sequence <= 60


def test_honest_ratings_after_random_ones_go_live_and_the_random_ones_are_quarantined(deployment: Deployment) -> None:
    user = deployment.add_user(min_new_feedback=STEP)
    rate_at_random(deployment, user, range(60))
    rate_honestly(deployment, user, range(60, 120))
    active = deployment.active(user)
    assert active is not None
    assert {sequence for _, sequence in quarantine(deployment, user)} >= set(range(1, 51))
    assert active.gate_report["feedback"]["first_sequence"] > 40


def test_one_post_and_small_steps_end_with_the_same_quarantine(
    deployment: Deployment,
) -> None:
    small, large = deployment.add_user("anna", min_new_feedback=STEP), deployment.add_user("berta")
    rate_honestly(deployment, small, range(50))
    rate_at_random(deployment, small, range(50, 100))
    order = np.random.default_rng(0).permutation(range(50, 100))
    others = [*range(50), *map(int, order)]
    deployment.post(
        *(deployment.rating(large, f"e{i}", i, deployment.opinion(other), i) for i, other in enumerate(others))
    )
    deployment.work()
    sequences = [{sequence for _, sequence in quarantine(deployment, user)} for user in (small, large)]
    assert sequences[0] == sequences[1] != set()


def test_released_quarantine_trains_and_is_not_quarantined_again(deployment: Deployment) -> None:
    user = deployment.add_user(min_new_feedback=STEP)
    rate_honestly(deployment, user, range(50))
    rate_at_random(deployment, user, range(50, 100))
    before = quarantine(deployment, user)
    with deployment.database.session() as session:
        released = exclusions.release(session, user, sequences=None, actor="admin", reason="they meant it")
    assert released == len(before) > 0
    deployment.work()
    assert quarantine(deployment, user) == []
    assert len(read_log(deployment, user).latest_ratings()) == 100
    assert deployment.versions(user)[-1].num_ratings > 60


def test_quarantined_feedback_that_is_rolled_back_stays_excluded_until_a_person_releases_it(
    deployment: Deployment,
) -> None:
    user = deployment.add_user(min_new_feedback=STEP)
    rate_honestly(deployment, user, range(50))
    rate_at_random(deployment, user, range(50, 100))
    first = next(row for row in deployment.versions(user) if row.state == AdapterState.RETIRED)
    with deployment.database.session() as session:
        rollbacks.rollback(session, user, to=first.number, actor="admin", reason="complaint")
    assert quarantine(deployment, user) == []
    excluded = read_log(deployment, user).excluded()
    assert excluded >= set(range(61, 101))
    deployment.retrain(user)
    assert read_log(deployment, user).excluded() == excluded


def test_version_is_retired_when_all_feedback_follows_no_order(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, promoted, pinned = (
        deployment.add_user(name, min_new_feedback=STEP) for name in ("anna", "promoted", "pinned")
    )
    for each in (user, promoted, pinned):
        rate_honestly(deployment, each, range(30))
        assert deployment.active(each) is not None
    with deployment.database.session() as session:
        versions.promote(session, promoted, 1, actor="admin", reason="try")
        versions.pin(session, pinned, deployment.active(pinned).number, actor="admin", reason="keep")
    nothing = FeedbackVerdict(40, 40, None, None, score=-3.0, needed=1.1)
    monkeypatch.setattr(adapt, "verdicts_on", lambda snapshots, _memory: [nothing] * len(snapshots))
    for each in (user, promoted, pinned):
        deployment.rate(each, range(30, 40))
    deployment.work()
    assert deployment.active(user) is None
    assert np.array_equal(deployment.scores(user), deployment.generic_IA)
    move, reason = moves(deployment, user)[-1]
    assert move == "gate_retired"
    assert reason.startswith("Retired: ")
    assert deployment.active(promoted).number == 1, "what a person made active stays until a better one comes"
    assert deployment.active(pinned) is not None


def test_held_out_ratings_never_train(deployment: Deployment) -> None:
    """The version's bytes are those of a fit without them."""
    user = deployment.add_user()
    deployment.rate(user, range(60))
    deployment.work()
    ratings = read_log(deployment, user).latest_ratings()
    training = [rating for rating in ratings if not rating.held_out]
    assert 0 < len(training) < len(ratings)
    rated = arrays.rated_set(training, deployment.base.aspects, partial(inputs, deployment))
    rated = canonical_order.in_order(rated, canonical_order.order_of_ratings(rated))
    fitted = closed_form.fit(deployment.base, OwnPrior(deployment.base), rated, NO_COMPARISONS)
    assert deployment.active(user).digest == sha256_hex(fitted.adapter.to_bytes())
    assert deployment.active(user).num_ratings == len(training)


def inputs(deployment: Deployment, image_ids: list[UUID]) -> tuple[np.ndarray, np.ndarray]:
    places = [deployment.images.index(image_id) for image_id in image_ids]
    taste_NR = deployment.taste_IR[places]
    return taste_NR, deployment.base.generic(taste_NR)


def compare(deployment: Deployment, user: UUID, answer: str, count: int = 60) -> None:
    """Comparisons of random images, answered by the person's opinion, its reverse, a coin, "first", or in circles."""
    rng, aspect = np.random.default_rng(3), deployment.base.aspects[0]
    triples = [rng.choice(80, 3, replace=False) for _ in range(count // 3)]
    events = []
    for index, (a, b) in enumerate(pair for x, y, z in triples for pair in ((x, y), (y, z), (z, x))):
        first_wins = {
            "honest": deployment.opinion(int(a)) > deployment.opinion(int(b)),
            "contrarian": deployment.opinion(int(a)) < deployment.opinion(int(b)),
            "coin": bool(rng.integers(2)),
            "first": True,
            "circles": index // 3 % 2 == 0,
        }[answer]
        events.append(
            NewEvent(
                index=index % STEP,
                user_id=user,
                event_id=f"c{index}",
                kind=FeedbackKind.COMPARISON,
                image_id=deployment.images[a],
                other_image_id=deployment.images[b],
                payload={"preference": {aspect: "first" if first_wins else "second"}},
            )
        )
    for start in range(0, len(events), STEP):
        deployment.post(*events[start : start + STEP])
        deployment.work()


@pytest.mark.parametrize("answer", ["coin", "first", "circles"])
def test_comparisons_without_an_order_never_go_live(deployment: Deployment, answer: str) -> None:
    user = deployment.add_user(min_new_feedback=STEP)
    compare(deployment, user, answer)
    assert np.array_equal(deployment.scores(user), deployment.generic_IA)
    assert deployment.active(user) is None


@pytest.mark.parametrize("answer", ["honest", "contrarian"])
def test_consistent_comparisons_go_live(deployment: Deployment, answer: str) -> None:
    user = deployment.add_user(min_new_feedback=STEP)
    compare(deployment, user, answer)
    assert deployment.active(user) is not None
    truth = np.array([deployment.opinion(i) for i in range(80, 160)])
    served = srcc(deployment.scores(user)[80:160, 0], truth if answer == "honest" else 10 - truth)
    generic = srcc(deployment.generic_IA[80:160, 0], truth if answer == "honest" else 10 - truth)
    assert served > generic
    checks = {check["name"]: check for check in deployment.active(user).gate_report["checks"]}
    assert checks["comparisons"]["value"] is not None, "held-out comparisons judged"


def test_comparisons_that_were_rolled_back_do_not_train(deployment: Deployment) -> None:
    user = deployment.add_user(min_new_feedback=STEP)
    rate_honestly(deployment, user, range(40))
    before = deployment.active(user)
    compare(deployment, user, "honest", count=30)
    assert deployment.active(user).digest != before.digest
    with deployment.database.session() as session:
        rollbacks.rollback(session, user, to=before.number, actor="admin", reason="complaint")
    assert read_log(deployment, user).latest_comparisons() == []
    deployment.retrain(user)
    assert deployment.versions(user)[-1].digest == before.digest
