from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from paaplus.demo.report.trio import NUM_TOP, make_trio
from paaplus.demo.statistics import agreement


def test_who_is_shown_agrees_least_and_no_score_decides_it(canned_run):
    trio = make_trio(canned_run.folder, canned_run.plan, canned_run.rounds)
    people = {person.user_id: person for person in canned_run.plan.people}

    def together(three):
        sums = 0.0
        for first, second in combinations(three, 2):
            shared = sorted(people[first].ratings.keys() & people[second].ratings.keys())
            sums += agreement(people[first].ratings, people[second].ratings, shared)
        return sums

    chosen = [person.user_id for person in trio.people]
    assert together(chosen) == pytest.approx(min(together(three) for three in combinations(people, 3)))
    backwards = make_trio(canned_run.folder, canned_run.plan, canned_run.rounds[::-1])
    assert [person.user_id for person in backwards.people] == chosen


def test_what_comes_first_is_of_unseen_images_by_the_scores_of_each_round(canned_run):
    trio = make_trio(canned_run.folder, canned_run.plan, canned_run.rounds)
    assert trio.num_ratings == (0, 20, 40, 60)
    scene_of = dict(zip(canned_run.folder.images, canned_run.folder.scene_I.tolist(), strict=True))
    for shown in trio.people:
        person = next(p for p in canned_run.plan.people if p.user_id == shown.user_id)
        assert shown.personal[0] == shown.generic  # round 0 serves the generic scores
        for images in (shown.generic, *shown.personal):
            assert len(images) == NUM_TOP
            assert set(images) <= set(person.unseen)
            assert set(images) <= trio.pictures.keys()
            assert len({scene_of[image] for image in images}) == NUM_TOP
        best = {}  # canned: the last scores are the ratings
        for image in person.unseen:
            best[scene_of[image]] = max(best.get(scene_of[image], 0.0), person.ratings[image]["beauty"])
        assert shown.mean(shown.personal[-1]) == pytest.approx(np.mean(sorted(best.values(), reverse=True)[:NUM_TOP]))


def test_no_blurred_variant_is_shown(canned_run):
    folder = canned_run.folder
    columns = {
        image: {**folder.image_columns[image], "blurred": "true" if place % 2 else "false"}
        for place, image in enumerate(folder.images)
    }
    trio = make_trio(replace(folder, image_columns=columns), canned_run.plan, canned_run.rounds)
    assert {columns[image]["blurred"] for image in trio.pictures} == {"false"}


def test_two_people_are_not_three(canned_run):
    plan = replace(canned_run.plan, people=canned_run.plan.people[:2])
    assert make_trio(canned_run.folder, plan, canned_run.rounds) is None
