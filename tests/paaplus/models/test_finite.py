from __future__ import annotations

import pytest
import torch

from paaplus.models.finite import all_finite

LARGE = torch.finfo(torch.float32).max


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_one_number_that_is_not_finite_is_found(dtype: torch.dtype) -> None:
    numbers = torch.linspace(-3.0, 4.0, 1000, dtype=dtype)
    assert all_finite(numbers)
    for wrong in (float("nan"), float("inf"), -float("inf")):
        changed = numbers.clone()
        changed[617] = wrong
        assert not all_finite(changed)


@pytest.mark.parametrize(
    ("numbers", "finite"),
    [
        ([LARGE] * 4, True),  # their sum is not
        ([float("inf"), -float("inf"), 1.0], False),
        ([LARGE, LARGE, float("nan")], False),
        ([], True),
    ],
)
def test_sum_alone_does_not_decide(numbers: list[float], finite: bool) -> None:
    assert all_finite(torch.tensor(numbers)) is finite


def test_number_beyond_float32_is_not_finite() -> None:
    assert not all_finite(torch.tensor([1.0, 1e300], dtype=torch.float64))
