from __future__ import annotations

import pytest

from paaplus.data.folder import read_folder
from paaplus.errors import InvalidInput
from paaplus.evaluation.splits import load_split, split_folder, within_train_side
from tests.support.taste_data import simulate, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = write_folder(tmp_path_factory.mktemp("data"), simulate(num_people=20, num_images=40), images_per_scene=4)
    with (path / "ratings.csv").open("a") as file:
        file.writelines(f"constant,image_{i:03d}.png,4\n" for i in range(40))
    return read_folder(path)


def test_people_and_scenes_are_on_one_side(folder):
    split = split_folder(folder, 0)
    assert not set(split.train_people) & set(split.test_people)
    assert not split.train_images & split.test_images
    assert split.train_images | split.test_images == set(folder.images)
    for scene in range(10):
        images = {name for name, number in zip(folder.images, folder.scene_I, strict=True) if number == scene}
        assert images <= split.train_images or images <= split.test_images
    assert (len(split.test_people), len(split.test_images)) == (5, 16)  # 27 % of 20, 35 % of 10 scenes of 4


def test_people_who_rate_everything_alike_are_left_out(folder):
    split = split_folder(folder, 0)
    assert len(split.train_people) + len(split.test_people) == 20
    assert "constant" not in split.train_people + split.test_people


def test_support_grows_in_one_order_and_holds_train_images_only(folder):
    split = split_folder(folder, 1)
    user_id = split.test_people[0]
    assert split.support(user_id, 0) == []
    assert list(split.support(user_id, 5)) == list(split.support(user_id, 20))[:5]
    assert set(split.support(user_id, 1000)) == split.train_images
    assert split.support(user_id, 10) != split.support(split.test_people[1], 10)


def test_split_depends_on_the_seed_alone(folder):
    assert split_folder(folder, 3) == split_folder(folder, 3)
    assert split_folder(folder, 3).test_people != split_folder(folder, 4).test_people


def test_folder_is_refused_when_it_cannot_be_split(tmp_path):
    few_people = read_folder(write_folder(tmp_path / "a", simulate(num_people=3, num_images=10)))
    one_scene = read_folder(write_folder(tmp_path / "b", simulate(num_people=5, num_images=10), images_per_scene=10))
    for folder, message in ((few_people, "3 people"), (one_scene, "1 scenes")):
        with pytest.raises(InvalidInput, match=message):
            split_folder(folder, 0)


PARTS = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Parts:
    seed: int
    data: str
    train_people = test_people = train_images = test_images = ()
    def support(self, user_id, k): return ()

def split(seed, data=None):
    return Parts(seed, data)
"""


def test_split_file_is_called_with_seed_and_data(tmp_path):
    file = tmp_path / "my_split.py"
    file.write_text(PARTS)
    split = load_split(file, tmp_path)(2)
    assert (split.seed, split.data) == (2, str(tmp_path))


def test_split_file_is_refused_when_it_has_no_split_function(tmp_path):
    (tmp_path / "empty.py").write_text("splits = 3\n")
    with pytest.raises(InvalidInput, match=r"no function split\(seed, data=DIR\)"):
        load_split(tmp_path / "empty.py", tmp_path)
    for name in ("nowhere.py", "data.csv"):
        with pytest.raises(InvalidInput, match="not a Python file"):
            load_split(tmp_path / name, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def split(seed data):\n", r"broken\.py: SyntaxError: .*line 1"),
        ("x = 1\nraise RuntimeError('no data here')\n", r"broken\.py, line 2: RuntimeError: no data here"),
        ("def split(seed, data):\n    return {}[seed]\n", r"broken\.py, line 2: KeyError: 3"),
        (
            "def split(seed, data):\n    return {'train_people': []}\n",
            r"split\(3\) has no train_people, .*support",
        ),
    ],
)
def test_error_in_split_file_is_reported_with_its_line(tmp_path, text, message):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        load_split(tmp_path / "broken.py", tmp_path)(3)


def test_tuning_reads_neither_test_people_nor_test_images_of_the_outer_split(folder):
    outer = split_folder(folder, 0)
    tuning = within_train_side(folder, lambda seed: split_folder(folder, seed))(0)
    assert set(tuning.train_people) | set(tuning.test_people) <= set(outer.train_people)
    assert tuning.train_images | tuning.test_images <= outer.train_images
    assert tuning.test_people
    assert tuning.test_images
