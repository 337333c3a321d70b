from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.evaluation.agreement import mean_srcc
from paaplus.evaluation.kshot.config import KShotConfig
from paaplus.evaluation.kshot.run import run_kshot
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.splits import split_folder
from paaplus.models.base_fit import SmallDataWarning
from tests.paaplus.evaluation.simulated import at_random

BAYES, NAIVE = Learner("taste_vector", "bayes"), Learner("taste_vector", "naive")
QUICK = KShotConfig(ks=(0, 5, 40), seeds=(0, 1), learners=(BAYES,), limit_people=8)


def run(data, config, make_split=None, **options):
    return run_kshot(data, make_split or at_random(data), config, **options)


@pytest.fixture(scope="module")
def document(data):
    return run(data, QUICK)


def test_quality_rises_with_the_number_of_ratings(document):
    at_0, at_5, at_40 = document["summary"]
    assert at_0["gain"] == 0
    assert at_40["gain"] > at_5["gain"] > 0.02
    assert at_40["gain_low"] > 0.05
    assert at_40["share_improved"] > 0.8
    assert (at_0["bytes_per_user"], at_0["seconds_per_user"]) == (0, 0)
    assert 0 < at_40["bytes_per_user"] < 5000


def test_rows_are_one_for_each_seed_and_k(document):
    assert [(row["seed"], row["k"]) for row in document["rows"]] == [(s, k) for s in (0, 1) for k in (0, 5, 40)]
    for row in document["rows"]:
        assert row["num_people"] + row["num_dropped"] == 8
        assert row["gain"] == pytest.approx(row["personal"] - row["generic"])
    assert document["config"]["base_models"][0]["num_people"] == 40 - 11


def test_people_who_rated_fewer_than_k_are_counted(data):
    found = run(data, dataclasses.replace(QUICK, ks=(5, 500), seeds=(0,), limit_people=2))
    assert [row["num_fewer"] for row in found["rows"]] == [0, 2]


def test_document_is_json_and_the_same_when_run_again(data, document):
    again = run(data, QUICK)
    assert again["rows"] == document["rows"]
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_document_has_every_learner(data):
    config = dataclasses.replace(QUICK, ks=(20,), seeds=(0,), learners=(BAYES, NAIVE), limit_people=3)
    found = run(data, config)
    assert 0 < found["rows"][0]["taste_vector:naive"] <= 1
    assert set(found["summary"][0]["taste_vector:naive"]) >= {"gain", "gain_low", "gain_high", "share_improved"}


@dataclasses.dataclass
class RecordingSplit:
    """A split that records the calls of `support`."""

    inner: object
    calls: list = dataclasses.field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def support(self, user_id, k):
        self.calls.append((user_id, k))
        return self.inner.support(user_id, k)


def test_ratings_outside_train_side_and_support_have_no_effect(data):
    folder = data.folder
    recorded = []

    def make_split(seed):
        recorded.append(RecordingSplit(split_folder(folder, seed)))
        return recorded[-1]

    config = dataclasses.replace(QUICK, seeds=(0,), ks=(5,))
    expected = run(data, config, make_split)["rows"]
    split = recorded[0].inner
    assert recorded[0].calls == [(user_id, 5) for user_id in split.test_people[:8]]
    # Change ratings that must have no effect: train people on test images, test people beyond their support.
    test_people = np.isin(folder.person_N, [folder.people.index(u) for u in split.test_people])
    test_images = np.isin(folder.image_N, [folder.images.index(i) for i in split.test_images])
    rating_NA = folder.rating_NA.copy()
    rating_NA[test_images & ~test_people] = 4.0
    supports = {
        (folder.people.index(u), folder.images.index(i)) for u in split.test_people for i in split.support(u, 5)
    }
    beyond = [
        n for n in np.flatnonzero(test_people & ~test_images) if (folder.person_N[n], folder.image_N[n]) not in supports
    ]
    rating_NA[beyond] = 4.0
    changed = dataclasses.replace(data, folder=dataclasses.replace(folder, rating_NA=rating_NA))
    assert run(changed, config, lambda seed: split)["rows"] == expected


def test_person_is_dropped_and_counted_when_srcc_is_undefined(data):
    folder = data.folder
    split = split_folder(folder, 0)
    rating_NA = folder.rating_NA.copy()
    rating_NA[folder.person_N == folder.people.index(split.test_people[2])] = 4.0
    changed = dataclasses.replace(data, folder=dataclasses.replace(folder, rating_NA=rating_NA))
    config = dataclasses.replace(QUICK, seeds=(0,), ks=(0, 5))
    for row in run(changed, config, lambda seed: split)["rows"]:
        assert (row["num_people"], row["num_dropped"]) == (7, 1)
    only_them = dataclasses.replace(split, test_people=split.test_people[2:3])
    with pytest.raises(InvalidInput, match="undefined for all 1 test people"):
        run(changed, config, lambda seed: only_them)


def test_split_is_refused_when_it_names_unknown_people(data):
    split = dataclasses.replace(split_folder(data.folder, 0), test_people=("stranger",))
    with pytest.raises(InvalidInput, match=r"without ratings.*stranger"):
        run(data, QUICK, lambda seed: split)


def test_progress_counts_people_of_all_seeds(data):
    calls = []
    config = dataclasses.replace(QUICK, ks=(5,), limit_people=2)
    run(data, config, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(n, 4) for n in range(5)]


def test_mean_srcc_is_over_aspects_and_missing_ratings_are_skipped():
    score = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [9.0, 0.0]])
    target = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [np.nan, np.nan]])
    assert mean_srcc(score, target) == pytest.approx(0.0)  # +1 and -1
    assert mean_srcc(score[:, :1], target[:, :1]) == pytest.approx(1.0)
    assert np.isnan(mean_srcc(score, np.column_stack([target[:, 0], np.full(4, 5.0)])))
    assert np.isnan(mean_srcc(score[:1], target[:1]))


@pytest.mark.parametrize("text", ["bottleneck:bayes", "taste_vector", "linear:bayes", ""])
def test_learner_is_refused_when_unknown(text):
    with pytest.raises(InvalidInput, match="known: taste_vector:bayes"):
        Learner.parse(text)


@pytest.mark.parametrize(
    "change",
    [{"ks": ()}, {"ks": (1, 1)}, {"ks": (-1,)}, {"seeds": ()}, {"limit_people": 0}, {"learners": (BAYES, BAYES)}],
)
def test_config_is_refused_when_invalid(change):
    with pytest.raises(InvalidInput):
        KShotConfig(**change)


def test_intervals_of_the_closed_form_have_their_nominal_coverage(document):
    covered = document["summary"][2]["coverage"]
    assert abs(covered["50%"] - 0.5) < 0.15  # 8 simulated people a seed
    assert covered["50%"] < covered["80%"] < covered["95%"]


def test_learned_prior_is_refused_with_too_few_train_people(data):
    learners = (BAYES, Learner.parse("taste_vector:bayes+prior"), Learner.parse("taste_vector:bayes+prior+asked"))
    config = dataclasses.replace(QUICK, ks=(5,), seeds=(0,), learners=learners, limit_people=4)
    with pytest.raises(InvalidInput, match="needs 50"):  # 29 train people
        run(data, config)
    names = [learner.name for learner in learners]
    assert names == ["taste_vector:bayes", "taste_vector:bayes+prior", "taste_vector:bayes+prior+asked"]


def test_learner_is_refused_when_an_option_is_unknown_or_unsuitable():
    for text in ("taste_vector:bayes+other", "taste_vector:replay+prior"):
        with pytest.raises(InvalidInput, match="learner"):
            Learner.parse(text)


def test_with_fresh_support_people_rate_images_outside_the_base_models_fit(data):
    config = dataclasses.replace(QUICK, ks=(20,), seeds=(0,), limit_people=4, fresh_support=True)
    seen = run(data, dataclasses.replace(config, fresh_support=False))
    with pytest.warns(SmallDataWarning):
        fresh = run(data, config)
    num_images = [document["config"]["base_models"][0]["num_images"] for document in (seen, fresh)]
    assert num_images[1] == pytest.approx(num_images[0] / 2, abs=1)
    assert fresh["summary"][0]["gain"] > 0


def test_informative_images_differ_from_the_first_images(data):
    config = dataclasses.replace(
        QUICK, ks=(5,), seeds=(0,), learners=(BAYES, Learner.parse("taste_vector:bayes+asked"))
    )
    (entry,) = run(data, config)["summary"]
    assert entry["gain"] != entry["taste_vector:bayes+asked"]["gain"]
