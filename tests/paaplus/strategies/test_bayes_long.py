"""Promise 10 where ratings are many: the same bytes for the same ratings, whatever a process knows of earlier ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring import rating_sums
from paaplus.strategies import bayes
from paaplus.training import Trained, train
from tests.paaplus.scoring.test_rating_sums import Memory
from tests.support.learning import base_of, comparisons, first_request, likes, person, ratings

BASE = base_of(2)
TASTE = person(BASE, 3)
IMAGES = ratings(BASE, TASTE, 40, missing=0.0)
COMPARED = ComparedSet.concatenate(
    comparisons(BASE, TASTE, 4, first_sequence=9_001), likes(BASE, TASTE, 4, first_sequence=9_010)
)
answers = st.lists(st.tuples(st.integers(0, 39), st.floats(0, 10, width=32), st.booleans()), min_size=1, max_size=60)


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating_sums, "FEWEST", 20)


class Log:
    """A person's latest ratings, by image."""

    def __init__(self) -> None:
        self.latest: dict[int, tuple[int, float, bool]] = {}
        self.num_events = 0

    def rate(self, image: int, value: float, both: bool) -> None:
        self.num_events += 1
        self.latest[image] = self.num_events, value, both

    def rated(self, scale: float = 1.0) -> RatedSet:
        chosen = sorted((sequence, image, value, both) for image, (sequence, value, both) in self.latest.items())
        image_N = np.array([image for _, image, _, _ in chosen], np.int64)
        target_NA = np.array([[value, 10 - value if both else np.nan] for _, _, value, both in chosen])
        taste_NR = IMAGES.taste_NR[image_N] * np.float32(scale)
        return RatedSet.of([each[0] for each in chosen], taste_NR, IMAGES.generic_NA[image_N], target_NA)


def trained(rated: RatedSet, num_past: int, memory: Memory | None, compared: ComparedSet = COMPARED) -> Trained:
    is_past_N = rated.sequence_N <= num_past
    request = first_request("bayes", "taste_vector", BASE, rated.select(~is_past_N))
    request = replace(request, past=rated.select(is_past_N), new_compared=compared, memory=memory)
    return train(request)


@settings(max_examples=25, deadline=None)
@given(given_answers=answers, turns=st.integers(1, 5), random=st.randoms(use_true_random=False), few=st.booleans())
def test_any_history_of_trainings_gives_the_bytes_of_one(
    given_answers: list[tuple[int, float, bool]], turns: int, random: object, few: bool
) -> None:
    log, memory, compared = Log(), Memory(), COMPARED.select(np.arange(len(COMPARED)) < (0 if few else 8))
    num_past = 0
    for turn in range(turns):
        first, end = (len(given_answers) * place // turns for place in (turn, turn + 1))
        for answer in [*given_answers[first:end], *((image, 5.0, True) for image in range(0 if turn else 30))]:
            log.rate(*answer)
        in_turns = trained(log.rated(), num_past, memory, compared)
        num_past = log.num_events
    assert memory.known is not None
    assert in_turns.adapter.digest == trained(log.rated(), 0, None, compared).adapter.digest
    other, order = Log(), [*log.latest.items()]
    random.shuffle(order)  # type: ignore[attr-defined]
    for image, (_, value, both) in order:
        other.rate(image, value, both)
    assert in_turns.adapter.digest == trained(other.rated(), 0, None, compared).adapter.digest


def test_numbers_too_large_for_exact_sums_are_summed_in_an_order_of_their_content() -> None:
    log, memory = Log(), Memory()
    for image in range(40):
        log.rate(image, image / 4, image % 3 > 0)
    one = trained(log.rated(1e6), 0, memory)
    assert memory.known is None
    other = Log()
    for image in reversed(range(40)):
        other.rate(image, image / 4, image % 3 > 0)
    assert one.adapter.digest == trained(other.rated(1e6), 7, memory).adapter.digest


def test_leave_one_out_predictions_are_of_the_latest_ratings(monkeypatch: pytest.MonkeyPatch) -> None:
    rated = IMAGES.select(slice(None))
    everything = trained(rated, 0, None)
    monkeypatch.setattr(bayes, "TOLD", 12)
    for fewest in (20, 100):  # by sums and by rows
        monkeypatch.setattr(rating_sums, "FEWEST", fewest)
        some = trained(rated, 0, None)
        assert some.loo_NA is not None
        assert everything.loo_NA is not None
        assert np.isnan(some.loo_NA[:-12]).all()
        np.testing.assert_allclose(some.loo_NA[-12:], everything.loo_NA[-12:], atol=1e-5)
        error_NA = (some.loo_NA - rated.target_NA)[-12:]
        assert some.metrics["loo_mse"] == pytest.approx(np.square(error_NA).mean(), rel=1e-5)
        generic_NA = (rated.generic_NA - rated.target_NA)[-12:]
        assert some.metrics["generic_mse"] == pytest.approx(np.square(generic_NA).mean(), rel=1e-5)
        assert some.metrics["num_ratings"] == 40


def test_what_recency_has_made_too_light_changes_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    request = first_request("bayes", "taste_vector", BASE, IMAGES)
    fast = replace(request, config=replace(request.config, recency_half_life=1.0))
    found = train(fast)
    assert found.loo_NA is not None
    assert np.isnan(found.loo_NA[:15]).all()
    assert not np.isnan(found.loo_NA[15:]).any()
    assert train(replace(fast, new=IMAGES.select(slice(15, None)))).adapter.digest == found.adapter.digest
    monkeypatch.setattr(bayes, "LIGHTEST", 0.0)
    scores = [each.score(IMAGES.taste_NR, IMAGES.generic_NA) for each in (found.adapter, train(fast).adapter)]
    np.testing.assert_allclose(*scores, atol=1e-5)


def test_ratings_joined_beforehand_age_with_their_parts() -> None:
    request = first_request("bayes", "taste_vector", BASE, IMAGES.select(slice(30, None)))
    request = replace(request, past=IMAGES.select(slice(30)), config=replace(request.config, recency_half_life=7.0))
    joined = replace(request, joined=IMAGES)
    assert train(joined).adapter.digest == train(request).adapter.digest
