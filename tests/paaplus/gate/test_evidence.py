"""Which ratings are evidence, and which scores they come with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.configs import TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.gate import Evidence, FeedbackVerdict, UnseenRatings, gather
from paaplus.gate.orders import pair_gains
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.training import TrainingRequest, train
from tests.support.tiny import FEATURE_DIM, tiny_base

VERDICT = FeedbackVerdict(num_answers=30, num_in_window=30, first=None, last=None, score=5.0, needed=1.1)


def request(kind: str, strategy: str) -> tuple[TrainingRequest, RatedSet]:
    base, rng = tiny_base(), np.random.default_rng(0)
    taste_NR = base.project(rng.normal(size=(30, FEATURE_DIM)).astype(np.float16))
    generic_NA = base.generic(taste_NR)
    rated = RatedSet.of(np.arange(1, 31), taste_NR, generic_NA, rng.uniform(3, 7, generic_NA.shape))
    past, new, held_out = (rated.select(np.arange(start, stop)) for start, stop in ((0, 12), (12, 22), (22, 30)))
    config = TrainingConfig(num_steps=2, rank=2)
    return TrainingRequest(strategy, kind, config, base, new, past, None, None), held_out


def gathered(kind: str, strategy: str, boundary: int) -> tuple[Evidence, TrainingRequest]:
    asked, held_out = request(kind, strategy)
    pool = held_out.select(np.arange(3))
    trained = train(asked)
    pool_scores = pool.taste_NR, pool.generic_NA
    gathered = gather(
        asked, trained, None, held_out, NO_COMPARISONS, boundary, *pool_scores, verdict=VERDICT, is_live=boundary > 0
    )
    return gathered, asked


def test_ratings_after_the_reference_have_leave_one_out_predictions() -> None:
    evidence, asked = gathered("taste_vector", "bayes", boundary=12)
    np.testing.assert_array_equal(evidence.new.sequence_N, asked.new.sequence_N)
    np.testing.assert_array_equal(evidence.new.active_NA, asked.new.generic_NA)
    for n in range(len(asked.new)):
        rest = asked.new.select(np.arange(len(asked.new)) != n)
        alone = asked.new.select(np.arange(len(asked.new)) == n)
        adapter = train(replace(asked, new=rest)).adapter
        expected_NA = adapter.score(alone.taste_NR, alone.generic_NA)
        np.testing.assert_allclose(evidence.new.candidate_NA[n], expected_NA[0], atol=1e-4)


def test_gradient_strategies_have_no_leave_one_out_predictions() -> None:
    evidence, _ = gathered("bottleneck", "naive", boundary=12)
    assert np.isnan(evidence.new.candidate_NA).all()
    assert len(evidence.gains()) == len(evidence.held_out) == 8
    assert len(evidence.new) == 10, "their active scores still count"


def test_everything_is_new_to_the_generic_score() -> None:
    evidence, _ = gathered("taste_vector", "bayes", boundary=0)
    assert len(evidence.new) == 22
    assert len(evidence.earlier_gains()) == 0


def rows(num: int, **columns: object) -> UnseenRatings:
    given = dict.fromkeys(("target_NA", "generic_NA", "active_NA", "candidate_NA"), np.zeros((num, 1)))
    return UnseenRatings(np.arange(num), **(given | columns))


def test_evidence_of_unequal_columns_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"evidence of 6 sequence numbers, .*\(5, 1\)"):
        rows(6, active_NA=np.zeros((5, 1)))


def test_held_out_comparisons_have_the_differences_of_all_three_scores() -> None:
    asked, rated = request("taste_vector", "bayes")
    trained = train(asked)
    first, second = rated.select(np.arange(0, 4)), rated.select(np.arange(4, 8))
    compared = ComparedSet.of(
        np.arange(100, 104),
        first.taste_NR,
        first.generic_NA,
        second.taste_NR,
        second.generic_NA,
        np.ones_like(first.target_NA),
    )
    no_pool = first.taste_NR[:0], first.generic_NA[:0]
    found = gather(asked, trained, None, rated, compared, 0, *no_pool, verdict=VERDICT, is_live=False).compared
    generic_CA = first.generic_NA - second.generic_NA
    np.testing.assert_array_equal(found.generic_CA, generic_CA)
    np.testing.assert_array_equal(found.active_CA, generic_CA)
    np.testing.assert_array_equal(
        found.candidate_CA,
        trained.adapter.score(first.taste_NR, first.generic_NA)
        - trained.adapter.score(second.taste_NR, second.generic_NA),
    )


def test_pair_gains_count_only_pairs_with_different_ratings() -> None:
    target_NA, active_NA = np.array([[1.0], [2.0], [2.0]]), np.array([[1.0], [2.0], [3.0]])
    np.testing.assert_allclose(pair_gains(target_NA, active_NA, -active_NA), [-1.0, -1.0, -1.0])
