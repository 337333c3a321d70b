"""Image and weights files that somebody made up, as workers read them: refused as invalid, and no code is run."""

from __future__ import annotations

import io
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from safetensors.torch import save

from paaplus.errors import InvalidInput
from paaplus.image_files import decode_image
from paaplus.models.timm_backbone import build_network, load_state, read_state
from tests.support.hostile import encoded, hostile_artifacts, hostile_images, nearly, noise, odd_images

# Refused by the upload and not here: what they are does a worker no harm.
HARMLESS = {"too_small", "animated_png", "animated_webp"}
HOSTILE_IMAGES, HOSTILE_WEIGHTS = hostile_images(), hostile_artifacts()
# Weights of no network, which shows when they are to go into one.
WELL_FORMED = {name for name in HOSTILE_WEIGHTS if name.startswith("metadata_")} | {"dtype_unreadable", "key_flood"}
STATE = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


@pytest.mark.parametrize("name", sorted(set(HOSTILE_IMAGES) - HARMLESS))
def test_hostile_image_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        decode_image(HOSTILE_IMAGES[name])


@pytest.mark.parametrize("name", odd_images())
def test_odd_image_is_read_as_rgb(name: str) -> None:
    image = decode_image(odd_images()[name])
    assert image.mode == "RGB"
    assert sorted(image.size) == [32, 48]


def test_reading_an_image_starts_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow gives PostScript to Ghostscript, if one is there, unless it is told which formats to try."""

    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    for name in ("Popen", "run", "check_call"):
        monkeypatch.setattr(subprocess, name, started)
    with pytest.raises(InvalidInput):
        decode_image(HOSTILE_IMAGES["postscript"])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_nearly_an_image_is_one_or_is_refused(kind: str) -> None:
    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(nearly(encoded(noise((24, 16)), kind)))
    def check(data: bytes) -> None:
        try:
            assert decode_image(data).mode == "RGB"
        except InvalidInput:
            return

    check()


# --- weights


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
@pytest.mark.parametrize("name", HOSTILE_WEIGHTS)
def test_hostile_weights_file_is_refused(tmp_path: Path, name: str, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(HOSTILE_WEIGHTS[name])
    if suffix == ".safetensors" and name in WELL_FORMED:
        network = build_network("resnet10t", pretrained=False)
        with pytest.raises(InvalidInput, match="does not fit") as refused:
            load_state(network, read_state(file), "weights")
    else:
        with pytest.raises(InvalidInput) as refused:
            read_state(file)
    assert len(str(refused.value)) < 2_000, "a message, not a copy of the file"


class Runs:
    """A pickle that runs code when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('the pickle ran')",))


def test_pickle_in_any_wrapping_is_refused_unread(tmp_path: Path) -> None:
    torch_file, archive = io.BytesIO(), io.BytesIO()
    torch.save({"a": Runs()}, torch_file)
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("archive/data.pkl", pickle.dumps(Runs()))
        zipped.writestr("archive/version", "3")
    for data in (torch_file.getvalue(), archive.getvalue(), pickle.dumps(Runs()), pickle.dumps({"state_dict": Runs()})):
        for suffix in (".safetensors", ".pth", ".pt", ".bin"):
            file = tmp_path / f"weights{suffix}"
            file.write_bytes(data)
            with pytest.raises(InvalidInput):
                read_state(file)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    bad = STATE | {"a.weight": torch.full((2, 3), value)}
    torch.save(bad, tmp_path / "weights.pth")
    (tmp_path / "weights.safetensors").write_bytes(save(bad))
    for file in ("weights.pth", "weights.safetensors"):
        with pytest.raises(InvalidInput, match=r"'a\.weight' .* not finite"):
            read_state(tmp_path / file)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_nearly_a_weights_file_is_one_or_is_refused(tmp_path: Path, suffix: str) -> None:
    whole = io.BytesIO()
    torch.save(STATE, whole)
    file = tmp_path / f"weights{suffix}"

    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(nearly(save(STATE) if suffix == ".safetensors" else whole.getvalue()))
    def check(data: bytes) -> None:
        file.write_bytes(data)
        try:
            state = read_state(file)
        except InvalidInput:
            return
        assert all(bool(torch.isfinite(tensor.double()).all()) for tensor in state.values())

    check()
