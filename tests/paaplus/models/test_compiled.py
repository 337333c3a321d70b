"""Networks run by ONNX Runtime give PyTorch's outputs, the same bits in every batch and with any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from paaplus.models.compiled import CompiledNetwork
from paaplus.settings import get_settings


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2.0)
        self.last = nn.Linear(8, 5)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = torch.relu(self.norm(self.conv(pixels))).mean((2, 3))
        return self.last(mean), mean


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


@pytest.fixture
def network() -> nn.Module:
    return TwoOutputs().eval().requires_grad_(False)


@pytest.mark.slow
def test_outputs_are_those_of_the_network(network):
    pixels = torch.randn(3, 3, 32, 48)
    expected, found = network(pixels), CompiledNetwork("two", lambda: network, (32, 48))(pixels)
    assert [part.shape for part in found] == [(3, 5), (3, 8)]
    for a, b in zip(found, expected, strict=True):
        assert b.std() > 0
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_bits_depend_neither_on_the_batch_nor_on_the_number_of_threads(network):
    pixels = torch.randn(4, 3, 64, 64)
    num_threads = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            compiled = CompiledNetwork("two", lambda: network, (64, 64))
            found += [
                compiled(pixels),
                tuple(torch.cat(part) for part in zip(*map(compiled, pixels.split(1)), strict=True)),
            ]
    finally:
        torch.set_num_threads(num_threads)
    for each in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(each, found[0], strict=True))


def test_the_networks_weights_and_training_state_stay_as_they_were(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    CompiledNetwork("two", lambda: network, (32, 32))
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_compiled_network_is_kept_and_read_by_the_next_process(network, home, monkeypatch):
    pixels = torch.randn(1, 3, 32, 32)
    first = CompiledNetwork("two", lambda: network, (32, 32))(pixels)
    [file] = (home / "cache" / "compiled").iterdir()
    assert file.name.startswith("two-")
    monkeypatch.setattr("paaplus.models.compiled._exported", lambda *_: pytest.fail("it was exported again"))
    again = CompiledNetwork("two", lambda: pytest.fail("the network was built again"), (32, 32))(pixels)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.slow
def test_another_network_is_not_taken_for_a_kept_one(network, home):
    pixels = torch.randn(1, 3, 32, 32)
    CompiledNetwork("two", lambda: network, (32, 32))
    other = TwoOutputs().eval().requires_grad_(False)
    other.last.weight.data.mul_(2)
    (found, _), (expected, _) = CompiledNetwork("other", lambda: other, (32, 32))(pixels), other(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"no network"])
def test_a_kept_file_that_cannot_be_read_is_written_anew(network, home, content):
    pixels = torch.randn(1, 3, 32, 32)
    first = CompiledNetwork("two", lambda: network, (32, 32))(pixels)
    [file] = (home / "cache" / "compiled").iterdir()
    file.write_bytes(content)
    again = CompiledNetwork("two", lambda: network, (32, 32))(pixels)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert file.stat().st_size > 1000


def test_a_home_that_cannot_be_written_to_costs_time_only(network, home):
    (home / "cache").write_text("a file where the folder would be")
    pixels = torch.randn(1, 3, 32, 32)
    (found, _), (expected, _) = CompiledNetwork("two", lambda: network, (32, 32))(pixels), network(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
