"""Simulated people: ratings from hidden tastes over measured image properties, noise, and a personal use of the scale.

The shares of variance follow real ratings of photographs: about 35 % between images, 15 % between people's means, and
most of the rest personal taste. Tastes vary along a few directions, as real people's do, but here the directions are
properties of pixels. Quality on these people shows that a model learns; it does not show how well it will do with real
people.

Shape letters: I = images, P = measured properties, K = kinds of content, S = scenes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SCALE = (1, 7)
TOTAL_SD = 2.0  # before ratings are clipped to the scale; about 1.8 after
MEAN_RATING = 4.2
SHARES = {"image": 0.38, "person": 0.17, "taste": 0.36, "noise": 0.09}  # of the variance before clipping

# Shares of a taste's variance. The part `scene` cannot be predicted for a scene that was never rated.
_PARTS = {"properties": 0.85, "contents": 0.1, "scene": 0.05}
# The common taste: colour, contrast, sharpness and a little warmth; neither dark nor very bright pictures.
_CROWD_SLOPES = {"warmth": 0.3, "colourfulness": 0.8, "contrast": 0.5, "sharpness": 0.7}
_CROWD_CURVES = {"brightness": -0.4, "contrast": -0.2}
# The directions in which people differ (vivid or muted, sharp or soft, light or dark), each with its standard
# deviation. In addition, each person has a small slope and curve of their own for every property.
_STYLES = (
    (1.0, {"colourfulness": 0.8, "contrast": 0.5, "warmth": 0.3}),
    (1.0, {"sharpness": 0.7, "texture": 0.5, "busyness": 0.4, "contrast": 0.2}),
    (0.4, {"brightness": 0.8, "warmth": 0.5, "contrast": -0.3}),
)
_OWN_SLOPE_SD, _OWN_CURVE_SD = 0.15, 0.1


@dataclass(frozen=True)
class Traits:
    """The traits of a set of images on which tastes depend."""

    property_names: tuple[str, ...]
    property_IP: np.ndarray  # standardised over the set
    content_IK: np.ndarray  # 1 where the image shows this kind of thing, else 0
    scene_IS: np.ndarray  # 1 for the image's scene, else 0

    @classmethod
    def of(
        cls,
        property_names: tuple[str, ...],
        measured_IP: np.ndarray,
        contents: list[tuple[str, ...]],
        scenes: list[str],
    ) -> Traits:
        """Traits from raw measurements, and each image's kinds of content and scene.

        Raises:
            ValueError: a property has the same value in every image, so that no taste can depend on it.
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
    """One simulated person; `opinion_I` is the noise-free opinion of each image, in rating steps around 0."""

    user_id: str
    opinion_I: np.ndarray
    offset: float
    seed: tuple[int, ...]

    def rate(self) -> np.ndarray:
        """The person's ratings of all images, shape (I,), integers on `SCALE`; the same at every call."""
        rng = np.random.default_rng(self.seed)
        noise_I = rng.normal(0, TOTAL_SD * np.sqrt(SHARES["noise"]), len(self.opinion_I))
        return np.clip(np.round(MEAN_RATING + self.offset + self.opinion_I + noise_I), *SCALE).astype(int)


def simulate_people(traits: Traits, user_ids: list[str], seed: int) -> list[SimulatedPerson]:
    """People who rate these images; a person depends only on `seed` and on the position in the list."""
    crowd_I = TOTAL_SD * np.sqrt(SHARES["image"]) * _crowd_taste(traits, np.random.default_rng([seed, 0]))
    people = []
    for place, user_id in enumerate(user_ids, start=1):
        rng = np.random.default_rng([seed, place])
        own_I = TOTAL_SD * np.sqrt(SHARES["taste"]) * _own_taste(traits, rng)
        scale_use = np.exp(rng.normal(0, 0.2))  # some people use the whole scale, others its middle
        offset = float(rng.normal(0, TOTAL_SD * np.sqrt(SHARES["person"])))
        people.append(SimulatedPerson(user_id, scale_use * (crowd_I + own_I), offset, (seed, place, 1)))
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
    """A taste of unit variance over the images, shape (I,), from properties, kinds of content and scenes."""
    property_IP = np.clip(traits.property_IP, -2.5, 2.5)  # bounds the effect of an extreme picture
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
