"""Settings: read from the environment, with an error for invalid variables."""

from __future__ import annotations

import pytest

from paaplus.errors import InvalidInput
from paaplus.settings import get_settings


def test_wrong_variables_are_named_all_at_once_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAAPLUS_API_PORT", "canary-port")
    monkeypatch.setenv("PAAPLUS_FEATURES_QUEUE", "canary-queue")
    with pytest.raises(InvalidInput, match=r"PAAPLUS_API_PORT: .*integer.*; PAAPLUS_FEATURES_QUEUE: .*cpu") as error:
        get_settings()
    assert "canary" not in str(error.value)
