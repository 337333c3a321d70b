from __future__ import annotations

import csv

import numpy as np
import pytest

from paaplus.data.folder import DataFolder, read_folder
from paaplus.demo import plan as plan_module
from paaplus.demo.plan import LEARNERS, make_plan
from paaplus.errors import InvalidInput
from tests.support.taste_data import simulate, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> DataFolder:
    """30 people who each rated all of 120 images: 24 scenes of 5."""
    path = write_folder(tmp_path_factory.mktemp("plan") / "data", simulate(), images_per_scene=5)
    with (path / "users.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("user_id", "simulated"), ("u03", "true"), ("u04", "true")])
    return read_folder(path)


def test_the_same_seed_plans_the_same_and_another_does_not(folder):
    assert make_plan(folder, seed=3) == make_plan(folder, seed=3)
    assert make_plan(folder, seed=3).people != make_plan(folder, seed=4).people


def test_demo_people_and_the_base_models_people_are_disjoint_and_all(folder):
    plan = make_plan(folder, increment_size=20)
    chosen = {person.user_id for person in plan.people}
    assert len(chosen) == 12
    assert chosen.isdisjoint(plan.others)
    assert chosen | set(plan.others) == set(folder.people)


def test_unseen_images_are_whole_scenes_that_nobody_learns_from(folder):
    plan = make_plan(folder, increment_size=20)
    scene_of = dict(zip(folder.images, folder.scene_I.tolist(), strict=True))
    unseen = {scene_of[image] for image in plan.unseen_images}
    assert len(unseen) == plan.num_unseen_scenes == 8  # 35 % of 24
    assert unseen.isdisjoint({scene_of[image] for image in plan.train_images})
    assert plan.has_scenes
    for person in plan.people:
        learned = {image for part in (*person.increments, person.reserve) for image in part}
        assert learned <= set(plan.train_images)
        assert set(person.unseen) == set(plan.unseen_images) & person.ratings.keys()


def test_increments_are_equal_and_do_not_overlap(folder):
    plan = make_plan(folder, increment_size=20, num_reserve=6)
    for person in plan.people:
        parts = (*person.increments, person.reserve)
        assert [len(part) for part in parts] == [20, 20, 20, 6]
        assert len({image for part in parts for image in part}) == 66


def test_increments_shrink_to_what_people_rated(folder):
    plan = make_plan(folder, increment_size=40, num_reserve=8)
    assert {len(part) for person in plan.people for part in person.increments} == {24}  # (80 - 8) // 3


def test_people_take_turns_with_the_learners(folder):
    plan = make_plan(folder, increment_size=20)
    assert [(p.adapter, p.strategy) for p in plan.people] == list(LEARNERS) * 6


def test_simulated_people_are_told_from_real_ones(folder):
    plan = make_plan(folder, increment_size=20, num_people=20)
    for person in plan.people:
        assert person.is_simulated == (person.user_id in ("u03", "u04"))


def test_without_scenes_single_images_are_held_out(tmp_path):
    folder = read_folder(write_folder(tmp_path / "data", simulate(num_people=14, num_images=100)))
    plan = make_plan(folder, increment_size=10)
    assert not plan.has_scenes
    assert len(plan.unseen_images) == plan.num_unseen_scenes == 35


def test_somebody_who_rates_everything_alike_is_not_chosen(tmp_path):
    simulated = simulate(num_people=16)
    simulated.score_UI[::4] = 5.0
    folder = read_folder(write_folder(tmp_path / "data", simulated))
    chosen = {person.user_id for person in make_plan(folder, increment_size=10).people}
    assert chosen.isdisjoint({"u00", "u04", "u08", "u12"})


def test_too_few_people_or_ratings_are_an_error_that_tells_how_many(tmp_path):
    folder = read_folder(write_folder(tmp_path / "data", simulate(num_people=12, num_images=120)))
    with pytest.raises(InvalidInput, match=r"12 of 12 people .* the demo needs 12, and others"):
        make_plan(folder)
    small = folder.only(images=folder.images[:40])
    with pytest.raises(InvalidInput, match="0 of 12 people have 32 ratings"):
        make_plan(small)


def test_ratings_are_as_given(folder):
    person = make_plan(folder, increment_size=20).people[0]
    rows = folder.person_N == folder.people.index(person.user_id)
    given = {folder.images[i]: float(r) for i, r in zip(folder.image_N[rows], folder.rating_NA[rows, 0], strict=True)}
    assert person.ratings == {image: {"beauty": rating} for image, rating in given.items()}
    assert np.ptp(list(given.values())) > 0


def test_people_are_judged_by_a_bounded_number_of_images(folder, monkeypatch):
    monkeypatch.setattr(plan_module, "MAX_UNSEEN", 17)
    for person in make_plan(folder, increment_size=20).people:
        assert len(set(person.unseen)) == 17
