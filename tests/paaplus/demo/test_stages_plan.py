from __future__ import annotations

from pathlib import Path

import pytest

from paaplus.data.folder import read_folder
from paaplus.demo.stages.plan import FEEDBACK_A_TIME, NUM_INCREMENTS, make_stages_plan
from paaplus.errors import InvalidInput
from tests.support.taste_data import simulate, write_folder


def test_everybody_has_a_rating_for_each_question_of_all_increments(tmp_path: Path) -> None:
    """30 people who each rated all of 120 images: 24 scenes of 5, 8 of them unseen."""
    plan = make_stages_plan(read_folder(write_folder(tmp_path / "data", simulate(), images_per_scene=5)))
    assert (len(plan.experts), len(plan.users), len(plan.others)) == (2, 8, 20)
    assert (len(plan.images), len(plan.unseen)) == (80, 40)
    assert set(plan.train_images).isdisjoint(plan.unseen)
    for player in (*plan.experts, *plan.users):
        assert sorted(player.order) == sorted(plan.images)
        assert set(plan.images) | set(plan.unseen) <= player.ratings.keys()


def test_images_that_do_not_last_for_all_increments_are_refused(tmp_path: Path) -> None:
    """With fewer, the last increment would never be due, and the demo would wait for it."""
    folder = read_folder(write_folder(tmp_path / "data", simulate(), images_per_scene=5))
    with pytest.raises(InvalidInput, match=f"need .* {NUM_INCREMENTS * FEEDBACK_A_TIME} images"):
        make_stages_plan(folder, unseen_share=0.4)
