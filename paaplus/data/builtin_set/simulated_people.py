"""Simulated people: hidden tastes over measured image properties, noise, and a personal use of the scale.

What they share with each other and what is their own is set to what real ratings of photographs show: about 35 %
of the variance lies between images, 15 % between people's means, and most of the rest is personal taste. That taste
moves along a few directions, as people's does, and along directions that can be seen in a picture: how well a model
learns these people says that it learns, and nothing about how well it will do with real ones.
Shape letters: I = images, P = measured properties, K = kinds of content, S = scenes, F = columns of a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SCALE = (1, 7)
TOTAL_SD = 2.0  # before the scale cuts it off; about 1.8 is left
MEAN_RATING = 4.2
SHARES = {"image": 0.38, "person": 0.17, "taste": 0.36, "noise": 0.09}  # of the opinion, before the scale

# What an opinion is made of. The last group cannot be foreseen for a scene that was never rated.
_PARTS = {"properties": 0.85, "contents": 0.1, "scene": 0.05}
# The crowd likes colour, contrast, sharpness and a little warmth, and neither dark nor glaring pictures.
_CROWD_SLOPES = {"warmth": 0.3, "colourfulness": 0.8, "contrast": 0.5, "sharpness": 0.7}
_CROWD_CURVES = {"brightness": -0.4, "contrast": -0.2}
# The directions in which people differ (vivid or muted, crisp or soft, light or dark), and how much; each person has
# a little of their own on top, for every property.
_STYLES = (
    (1.0, {"colourfulness": 0.8, "contrast": 0.5, "warmth": 0.3}),
    (1.0, {"sharpness": 0.7, "texture": 0.5, "busyness": 0.4, "contrast": 0.2}),
    (0.4, {"brightness": 0.8, "warmth": 0.5, "contrast": -0.3}),
)
_OWN_SLOPE_SD, _OWN_CURVE_SD = 0.15, 0.1


@dataclass(frozen=True)
class Traits:
    """What people respond to in a set of images."""

    property_names: tuple[str, ...]
    property_IP: np.ndarray  # standardised over the set
    content_IK: np.ndarray  # 1 where the image shows this kind of thing
    scene_IS: np.ndarray  # 1 for the image's scene

    @classmethod
    def of(
        cls,
        property_names: tuple[str, ...],
        measured_IP: np.ndarray,
        contents: list[tuple[str, ...]],
        scenes: list[str],
    ) -> Traits:
        """From raw measurements, each image's kinds of content and its scene.

        Raises:
            ValueError: a property that is the same in every image: nobody can have a taste over it.
        """
        spread_P = measured_IP.std(0)
        if constant := [n for n, s in zip(property_names, spread_P, strict=True) if s == 0]:
            raise ValueError(f"constant over all images: {constant}")
        kinds = sorted({kind for image in contents for kind in image})
        names = sorted(set(scenes))
        return cls(
            property_names,
            (measured_IP - measured_IP.mean(0)) / spread_P,
            np.array([[kind in image for kind in kinds] for image in contents], float),
            np.array([[name == scene for name in names] for scene in scenes], float),
        )

    @property
    def num_images(self) -> int:
        return len(self.property_IP)


@dataclass(frozen=True)
class SimulatedPerson:
    """One simulated person. `opinion_I` is what they think, without noise, in rating steps around 0."""

    user_id: str
    opinion_I: np.ndarray
    offset: float
    seed: tuple[int, ...]

    def rate(self) -> np.ndarray:
        """Their ratings of all images, shape (I,), whole numbers on `SCALE`; the same at every call."""
        rng = np.random.default_rng(self.seed)
        noise_I = rng.normal(0, TOTAL_SD * np.sqrt(SHARES["noise"]), len(self.opinion_I))
        return np.clip(np.round(MEAN_RATING + self.offset + self.opinion_I + noise_I), *SCALE).astype(int)


def simulate_people(traits: Traits, user_ids: list[str], seed: int) -> list[SimulatedPerson]:
    """People who rate these images; a person depends on `seed` and on their place in the list only."""
    crowd_I = TOTAL_SD * np.sqrt(SHARES["image"]) * _crowd_taste(traits, np.random.default_rng([seed, 0]))
    people = []
    for place, user_id in enumerate(user_ids, start=1):
        rng = np.random.default_rng([seed, place])
        own_I = TOTAL_SD * np.sqrt(SHARES["taste"]) * _own_taste(traits, rng)
        decided = np.exp(rng.normal(0, 0.2))  # some use the whole scale, some its middle
        offset = float(rng.normal(0, TOTAL_SD * np.sqrt(SHARES["person"])))
        people.append(SimulatedPerson(user_id, decided * (crowd_I + own_I), offset, (seed, place, 1)))
    return people


def _crowd_taste(traits: Traits, rng: np.random.Generator) -> np.ndarray:
    slope_P = np.array([_CROWD_SLOPES.get(name, 0.0) for name in traits.property_names])
    curve_P = np.array([_CROWD_CURVES.get(name, 0.0) for name in traits.property_names])
    return _taste(traits, slope_P, curve_P, rng)


def _own_taste(traits: Traits, rng: np.random.Generator) -> np.ndarray:
    names = traits.property_names
    slope_P, curve_P = rng.normal(0, _OWN_SLOPE_SD, len(names)), rng.normal(0, _OWN_CURVE_SD, len(names))
    for spread, direction in _STYLES:
        slope_P = slope_P + rng.normal(0, spread) * np.array([direction.get(name, 0.0) for name in names])
    return _taste(traits, slope_P, curve_P, rng)


def _taste(traits: Traits, slope_P: np.ndarray, curve_P: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A taste of unit variance over the images, shape (I,): properties, likings for kinds of content, scenes."""
    property_IP = np.clip(traits.property_IP, -2.5, 2.5)  # an extreme picture is not liked without bound
    parts = {
        "properties": property_IP @ slope_P + (property_IP**2 - 1) @ curve_P,
        "contents": traits.content_IK @ rng.normal(0, 1, traits.content_IK.shape[1]),
        "scene": traits.scene_IS @ rng.normal(0, 1, traits.scene_IS.shape[1]),
    }
    return _unit(sum((np.sqrt(_PARTS[name]) * _unit(part_I) for name, part_I in parts.items()), np.zeros(1)))


def _unit(values_I: np.ndarray) -> np.ndarray:
    centred_I = values_I - values_I.mean()
    spread = centred_I.std()
    return centred_I / spread if spread > 0 else centred_I
