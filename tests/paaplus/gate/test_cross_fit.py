"""Who gets the two trainings of a cross-fit, and that each orders only ratings that it was not trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.configs import GateConfig, TrainingConfig
from paaplus.gate import cross_fitted, gather, judge
from paaplus.records import RatedSet
from paaplus.training import TrainingRequest, train
from tests.support.tiny import FEATURE_DIM, tiny_base

CONFIG = GateConfig()


def judged_person(follow: str, strategy: str = "naive", kind: str = "bottleneck"):
    """Evidence on a first version of a user whose ratings follow the generic score, its opposite, or nothing."""
    base, rng = tiny_base(), np.random.default_rng(0)
    taste_NR = base.project(rng.normal(size=(80, FEATURE_DIM)).astype(np.float16))
    generic_NA = base.generic(taste_NR)
    target_NA = {
        "generic": generic_NA,
        "opposite": 10 - generic_NA,
        "nothing": rng.permutation(generic_NA),
    }[follow] + rng.normal(scale=0.1, size=generic_NA.shape)
    rated = RatedSet.of(np.arange(1, 81), taste_NR, generic_NA, np.clip(target_NA, 0, 10))
    held_out_N = np.arange(80) % 5 == 0
    new = rated.select(~held_out_N)
    nothing = new.select(np.zeros(len(new), bool))
    request = TrainingRequest(strategy, kind, TrainingConfig(num_steps=80), base, new, nothing, None, None)
    evidence = gather(
        request, train(request), None, rated.select(held_out_N), 0, pool_PR=taste_NR[:4], pool_PA=generic_NA[:4]
    )
    return evidence, request


@pytest.mark.parametrize(
    ("follow", "strategy", "kind"),
    [
        ("generic", "naive", "bottleneck"),
        ("opposite", "bayes", "taste_vector"),
        ("opposite", "naive", "taste_vector"),
        ("opposite", "replay_ewc", "taste_vector"),
    ],
)
def test_there_is_no_cross_fit_where_it_could_not_decide(follow: str, strategy: str, kind: str) -> None:
    evidence, request = judged_person(follow, strategy, kind)
    assert cross_fitted(evidence, request, CONFIG) is evidence
    assert judge(evidence, CONFIG).promote


def test_a_person_unlike_all_others_is_not_refused_for_it() -> None:
    evidence, request = judged_person("opposite")
    assert "agreement" in {check.name for check in judge(evidence, CONFIG).checks if not check.passed}
    found = cross_fitted(evidence, request, CONFIG)
    assert judge(found, CONFIG).promote
    np.testing.assert_array_equal(found.gains(), evidence.gains())


def test_random_ratings_stay_refused() -> None:
    evidence, request = judged_person("nothing")
    assert not judge(cross_fitted(evidence, request, CONFIG), CONFIG).promote


def test_ratings_of_one_fold_are_compared_by_the_training_without_them() -> None:
    evidence, request = judged_person("opposite")
    difference_LL = cross_fitted(evidence, request, CONFIG).new.difference_LLA[:, :, 0]
    known_LL = ~np.isnan(difference_LL)
    assert known_LL.sum() == 2 * 32 * 32
    even = np.flatnonzero(known_LL[0])
    without = replace(request, new=request.new.select(~known_LL[0]))
    score_N = train(without).adapter.score(request.new.taste_NR[even], request.new.generic_NA[even])[:, 0]
    np.testing.assert_allclose(difference_LL[np.ix_(even, even)], score_N[:, None] - score_N[None], atol=1e-5)
