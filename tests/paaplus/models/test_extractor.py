from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from paaplus.models.extractor import Preprocessing, extractor_digest

PLAIN = Preprocessing(3, 2, "bilinear", (100.0, 50.0, 0.0), (10.0, 20.0, 5.0), root_features=False)


def test_pixels_are_normalised_by_channel_and_laid_out_channels_first():
    image = Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))  # already 3 wide and 2 high
    pixels = PLAIN.pixels(image)
    assert (pixels.shape, pixels.dtype) == ((1, 3, 2, 3), torch.float32)
    assert pixels[0, :, 1, 2].tolist() == pytest.approx([(15 - 100) / 10, (16 - 50) / 20, 17 / 5])


def test_picture_is_squashed_not_cropped():
    image = Image.new("RGB", (300, 10), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 100, 10))  # the left third
    white = PLAIN.pixels(image)[0, 0] * 10 + 100
    assert white[:, 0].tolist() == pytest.approx([255, 255], abs=40)
    assert white[:, 2].tolist() == pytest.approx([0, 0], abs=1)


def test_features_keep_their_sign_when_rooted_and_stay_finite_when_huge():
    output = torch.tensor([[4.0, -9.0, 0.0, 1e30]])
    rooted = dataclasses.replace(PLAIN, root_features=True).features(output)
    assert rooted.dtype == np.float16
    assert rooted[0].tolist() == [2.0, -3.0, 0.0, 65504.0]
    assert PLAIN.features(output)[0].tolist() == [4.0, -9.0, 0.0, 65504.0]


def test_digest_names_weights_and_preprocessing_and_nothing_else():
    state = {"a": torch.ones(2, 3), "b": torch.zeros(2, dtype=torch.int64)}
    digest = extractor_digest(state, PLAIN)
    assert digest == extractor_digest(dict(reversed(state.items())), PLAIN)
    assert digest == extractor_digest({**state, "a": torch.ones(3, 2).t()}, PLAIN)
    changed = [
        extractor_digest({**state, "a": torch.ones(3, 2)}, PLAIN),
        extractor_digest({**state, "b": torch.zeros(2, dtype=torch.int32)}, PLAIN),
        extractor_digest({**state, "a": torch.full((2, 3), 1.0000001)}, PLAIN),
        extractor_digest({"a": state["a"]}, PLAIN),
        extractor_digest(state, dataclasses.replace(PLAIN, width_px=4)),
        extractor_digest(state, dataclasses.replace(PLAIN, root_features=True)),
    ]
    assert len({digest, *changed}) == len(changed) + 1
