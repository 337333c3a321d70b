from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from paaplus.demo.report.build import build_report

NEEDED = {
    "people", "num_users", "num_scenes", "srcc_generic", "srcc_personal", "srcc_by_increment", "users_better",
    "forgetting", "gate_refused", "rollback_bit_for_bit", "rollback_not_undone", "seconds_per_user", "bytes_per_user",
    "gain", "people_kind", "seeds", "versions", "base_model",
}  # fmt: skip


def test_the_report_is_json_and_has_every_field(canned_run):
    report = json.loads(json.dumps(build_report(canned_run)))
    assert set(report) >= NEEDED
    assert report["num_users"] == 4
    assert report["num_other_people"] == 4
    assert report["num_scenes"] == 24
    assert report["num_unseen_scenes"] == 8
    assert report["unseen_by"] == "scene"
    assert report["people_kind"] == "real"
    assert report["base_model"]["digest"] == "d" * 64
    assert report["seeds"] == {"plan": 1}


def test_personal_and_generic_agreement_are_those_of_unseen_images(canned_run):
    report = build_report(canned_run)
    for person, told in zip(canned_run.plan.people, report["people"], strict=True):
        ratings = [person.ratings[image]["beauty"] for image in person.unseen]
        served = canned_run.rounds[1][person.user_id]
        generic = [served.generic[image]["beauty"] for image in person.unseen]
        after_one = [served.scores[image]["beauty"] for image in person.unseen]
        assert told["id"] == person.user_id
        assert told["srcc_generic"] == pytest.approx(spearmanr(generic, ratings).statistic)
        assert told["srcc_by_increment"][0] == pytest.approx(told["srcc_generic"])
        assert told["srcc_by_increment"][1] == pytest.approx(spearmanr(after_one, ratings).statistic)
        assert told["srcc_personal"] == pytest.approx(1.0)  # the last round serves the ratings themselves
        assert told["gain"] == pytest.approx(1 - told["srcc_generic"])


def test_means_are_over_people(canned_run):
    report = build_report(canned_run)
    gains = [person["gain"] for person in report["people"]]
    assert report["gain"]["mean"] == pytest.approx(np.mean(gains))
    assert report["gain"]["interval"][0] <= report["gain"]["mean"] <= report["gain"]["interval"][1]
    assert report["users_better"] == 4
    assert len(report["srcc_by_increment"]) == 4
    assert report["srcc_by_increment"][3] == pytest.approx(report["srcc_personal"])
    assert report["seconds_per_user"] == pytest.approx(np.mean([0.25, 1.25, 2.25, 3.25]))
    assert (
        report["bytes_per_user"] == 1536
    )  # the first person's third version was refused: none of the canned is active
    assert set(report["gain_by_learner"]) == {"bottleneck + replay_ewc", "taste_vector + bayes"}


def test_forgetting_is_what_was_lost_on_the_first_increment(canned_run):
    report = build_report(canned_run)
    assert report["forgetting"] < 0  # canned: every round is nearer to the ratings
    person = canned_run.plan.people[0]
    last = canned_run.rounds[-1][person.user_id]
    upside_down = {image: {"beauty": -score["beauty"]} for image, score in last.scores.items()}
    canned_run.rounds[-1][person.user_id] = replace(last, scores=upside_down)
    told = build_report(canned_run)["people"][0]
    assert told["forgetting"] == pytest.approx(told["srcc_first_increment"][0] + 1)
    assert told["gain"] == pytest.approx(-1 - told["srcc_generic"])


def test_refused_candidates_are_counted_with_their_reason(canned_run):
    report = build_report(canned_run)
    assert report["gate_promoted"] == 11
    assert report["gate_refused"] == 1
    assert report["people"][0]["versions"][-1]["reason"].startswith("Refused")


def test_a_missing_score_is_an_error(canned_run):
    person = canned_run.plan.people[0]
    del canned_run.rounds[-1][person.user_id].scores[person.unseen[0]]
    with pytest.raises(KeyError):
        build_report(canned_run)
