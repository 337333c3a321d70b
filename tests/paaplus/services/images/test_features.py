"""Stored features as arrays: which can be scored, and why others cannot."""

from uuid import UUID

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.services.images.features import features_of, usable_features

GOOD = np.arange(3, dtype=np.float16)
BAD = {
    "damaged": (None, "cannot decode", "cannot decode"),
    "without a reason": (None, None, "no features"),
    "of another extractor": (GOOD[:2].tobytes(), None, "4 bytes, not 3 float16 numbers"),
    "not a number": (np.array([0, np.nan, 0], np.float16).tobytes(), None, "not finite"),
    "infinite": (np.array([0, np.inf, 0], np.float16).tobytes(), None, "not finite"),
}


def test_features_come_back_as_they_were_stored() -> None:
    features_D = features_of(GOOD.tobytes(), None, 3)
    assert features_D.dtype == np.float16
    np.testing.assert_array_equal(features_D, GOOD)


@pytest.mark.parametrize(("data", "error", "message"), BAD.values(), ids=BAD.keys())
def test_features_that_cannot_be_scored_are_refused(data: bytes | None, error: str | None, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        features_of(data, error, 3)


def test_only_usable_features_are_kept_in_order() -> None:
    rows = [(UUID(int=9), GOOD.tobytes()), *((UUID(int=i), data) for i, (data, _, _) in enumerate(BAD.values()))]
    rows.append((UUID(int=8), GOOD[::-1].tobytes()))
    usable = usable_features(rows, 3)
    assert list(usable) == [UUID(int=9), UUID(int=8)]
    np.testing.assert_array_equal(usable[UUID(int=8)], GOOD[::-1])
