"""Moments: ISO 8601 and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import BaseModel, ValidationError

from paaplus.api.schemas.common import Moment
from paaplus.errors import InvalidInput
from paaplus.times import parse_moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T09:30:00Z", datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        ("2026-11-22T09:30Z", datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        ("2026-11-22T09:30:00.250+01:00", datetime(2026, 11, 22, 9, 30, 0, 250_000, timezone(timedelta(hours=1)))),
        ("2026-11-22T09:30:00,5-0330", datetime(2026, 11, 22, 9, 30, 0, 500_000, timezone(-timedelta(hours=3.5)))),
        ("2026-11-22T09:30:00.123456789Z", datetime(2026, 11, 22, 9, 30, 0, 123_456, UTC)),
    ],
)
def test_moment_is_read(text: str, moment: datetime) -> None:
    assert parse_moment(text) == moment


WRONG = [
    "20261122",
    "1764000000",
    "1764000000.5",
    "2026-11-22",
    "2026-11-22T09:30:00",
    "2026-11-22 09:30:00Z",
    "22.11.2026",
    "P1D",
    "2026-13-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-11-22T25:00:00Z",
    "1899-12-31T00:00:00Z",
    "2201-01-01T00:00:00Z",
    "2026-11-22T09:30:00+99:00",
    "２０２６-11-22T09:30:00Z",
    "now",
    "",
]


class Body(BaseModel):
    at: Moment


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_moment_is_refused_with_what_was_written(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not an ISO 8601 time|is no moment|is not between the years"):
        parse_moment(text)
    with pytest.raises(ValidationError):
        Body.model_validate({"at": text})


@pytest.mark.parametrize("value", [1764000000, 1764000000.5, True, None, ["2026-11-22T09:30:00Z"]])
def test_number_is_no_moment_in_a_request(value: object) -> None:
    with pytest.raises(ValidationError):
        Body.model_validate({"at": value})
    assert Body.model_validate({"at": "2026-11-22T09:30:00Z"}).at == datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
