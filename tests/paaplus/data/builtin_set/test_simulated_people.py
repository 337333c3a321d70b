from __future__ import annotations

import numpy as np
import pytest

from paaplus.data.builtin_set.simulated_people import SCALE, Traits, simulate_people

NAMES = ("brightness", "warmth", "colourfulness", "contrast", "sharpness", "busyness", "texture")
KINDS = ("night", "person", "landscape")


def make_traits(num_images: int = 800, num_scenes: int = 40) -> Traits:
    rng = np.random.default_rng(0)
    scenes = [f"scene{i % num_scenes}" for i in range(num_images)]
    contents = [(KINDS[(i % num_scenes) % 3],) for i in range(num_images)]
    return Traits.of(NAMES, rng.normal(5, 3, (num_images, len(NAMES))), contents, scenes)


@pytest.fixture(scope="module")
def traits() -> Traits:
    return make_traits()


@pytest.fixture(scope="module")
def people(traits):
    return simulate_people(traits, [f"p{n}" for n in range(60)], seed=0)


def variance_shares(rating_UI: np.ndarray) -> tuple[float, float, float]:
    """Shares of images, people and the rest: a two-way analysis of variance without repetition."""
    num_people, num_images = rating_UI.shape
    mean = rating_UI.mean()
    person_U, image_I = rating_UI.mean(1) - mean, rating_UI.mean(0) - mean
    rest_UI = rating_UI - mean - person_U[:, None] - image_I
    rest = np.square(rest_UI).sum() / ((num_people - 1) * (num_images - 1))
    person = person_U.var(ddof=1) - rest / num_images
    image = image_I.var(ddof=1) - rest / num_people
    total = rest + person + image
    return image / total, person / total, rest / total


def test_traits_are_standardised(traits):
    np.testing.assert_allclose(traits.property_IP.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(traits.property_IP.std(0), 1)
    assert traits.content_IK.sum(1).tolist() == [1] * traits.num_images
    assert traits.scene_IS.shape == (800, 40)


def test_a_property_that_never_varies_is_refused():
    with pytest.raises(ValueError, match=r"constant over all images: \['contrast'\]"):
        Traits.of(("warmth", "contrast"), np.array([[1.0, 2.0], [2.0, 2.0]]), [(), ()], ["a", "b"])


def test_ratings_are_whole_numbers_on_the_scale_and_do_not_change(people):
    ratings = people[0].rate()
    assert set(ratings.tolist()) == set(range(SCALE[0], SCALE[1] + 1))
    np.testing.assert_array_equal(ratings, people[0].rate())


def test_a_person_does_not_depend_on_other_people(traits, people):
    few = simulate_people(traits, ["p0", "p1"], seed=0)
    np.testing.assert_array_equal(few[1].rate(), people[1].rate())
    assert (simulate_people(traits, ["p0"], seed=1)[0].rate() != people[0].rate()).any()


def test_variance_is_divided_as_in_real_ratings(people):
    image, person, rest = variance_shares(np.stack([p.rate() for p in people]).astype(float))
    assert image == pytest.approx(0.35, abs=0.06)
    assert person == pytest.approx(0.15, abs=0.06)
    assert rest == pytest.approx(0.5, abs=0.08)


def test_most_of_the_remaining_variance_is_taste(people):
    """Real people asked twice agree with themselves at about .9 and with the crowd at about .6."""
    rating_UI = np.stack([p.rate() for p in people]).astype(float)
    crowd_I = rating_UI.mean(0)
    own = [np.corrcoef(p.opinion_I, p.rate())[0, 1] for p in people]
    crowd = [np.corrcoef(crowd_I, rating_I)[0, 1] for rating_I in rating_UI]
    assert np.mean(own) == pytest.approx(0.9, abs=0.04)
    assert np.mean(crowd) == pytest.approx(0.62, abs=0.07)


def test_tastes_depend_on_measured_properties(traits, people):
    """Properties, their squares, contents and scenes explain a person's opinion; half of it without scenes."""
    visible = np.hstack([traits.property_IP, np.clip(traits.property_IP, -2.5, 2.5) ** 2, traits.content_IK])
    everything = np.hstack([visible, traits.scene_IS])
    for person in people[:10]:
        assert explained(everything, person.opinion_I) > 0.95
        assert explained(visible, person.opinion_I) > 0.5


def explained(design_IF: np.ndarray, value_I: np.ndarray) -> float:
    fitted = design_IF @ np.linalg.lstsq(design_IF, value_I, rcond=None)[0]
    return 1 - (value_I - fitted).var() / value_I.var()
