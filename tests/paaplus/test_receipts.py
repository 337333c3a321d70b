"""Signed receipts: they say what was signed, to their user only, and nobody else can make one."""

from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paaplus.errors import InvalidInput
from paaplus.ids import first_id_of, new_id
from paaplus.receipts import MAX_LENGTH, PREFIX, Receipt, Signer, row_id

KEY = bytes(range(32))
NOW = datetime(2026, 11, 28, 12, 0, 0, 123_000, UTC)
SCORE = st.floats(0, 10, width=32)
DETAILS = st.none() | st.fixed_dictionaries({"branches": st.lists(st.text(max_size=5), max_size=3)})


@given(
    ids=st.tuples(st.uuids(), st.uuids(), st.none() | st.uuids(), st.uuids()),
    scores=st.lists(SCORE, min_size=1, max_size=8),
    details=DETAILS,
)
@pytest.mark.slow
def test_receipt_says_what_was_signed(
    ids: tuple[UUID, UUID, UUID | None, UUID], scores: list[float], details: dict[str, object] | None
) -> None:
    user, image, version, base_model = ids
    [text] = Signer(KEY).sign(user, (version, base_model), NOW, [(image, scores, details)])
    expected = Receipt(user, image, version, None if version else base_model, NOW, tuple(scores), details)
    assert Signer(KEY).read(user, text) == expected
    assert [np.float32(score) for score in scores] == [np.float32(score) for score in expected.scores]


@pytest.mark.parametrize("num_aspects", [1, 3])
def test_receipts_that_are_written_as_columns_are_those_of_each(num_aspects: int) -> None:
    rng = np.random.default_rng(num_aspects)
    users, images, models = ([new_id().bytes for _ in range(20)] for _ in range(3))
    base = new_id()
    is_of_base_N = rng.random(20) < 0.5
    score_NA = rng.uniform(0, 10, (20, num_aspects)).astype(np.float32)
    versions = [None if is_of_base else model for is_of_base, model in zip(is_of_base_N, models, strict=True)]
    expected = Signer(KEY).sign_each(base, NOW, users, versions, images, score_NA.tolist())
    given = [base.bytes if is_of_base else model for is_of_base, model in zip(is_of_base_N, models, strict=True)]
    users_N, models_N, images_N = (np.frombuffer(b"".join(ids), "V16") for ids in (users, given, images))
    assert Signer(KEY).sign_columns(NOW, users_N, models_N, is_of_base_N, images_N, score_NA) == expected
    assert Signer(KEY).sign_columns(NOW, users_N[:0], models_N[:0], is_of_base_N[:0], images_N[:0], score_NA[:0]) == []


def one(key: bytes = KEY, user: UUID | None = None) -> tuple[UUID, str]:
    user = user or new_id()
    [text] = Signer(key).sign(user, (new_id(), new_id()), NOW, [(new_id(), [5.0], None)])
    return user, text


def test_receipt_of_one_score_has_79_characters_and_needs_no_quoting() -> None:
    _, text = one()
    assert len(text) == len(PREFIX) + 75
    assert text.removeprefix(PREFIX).replace("-", "").replace("_", "").isalnum()


def test_receipt_is_of_its_user_only() -> None:
    user, text = one()
    assert Signer(KEY).read(user, text).user_id == user
    with pytest.raises(InvalidInput, match="not one of this user"):
        Signer(KEY).read(new_id(), text)


def test_receipt_of_another_deployment_is_none_here() -> None:
    user, text = one(key=bytes(32))
    with pytest.raises(InvalidInput):
        Signer(KEY).read(user, text)


def test_no_bit_of_a_receipt_can_be_changed() -> None:
    user, text = one()
    encoded = text.removeprefix(PREFIX)
    data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidInput):
            Signer(KEY).read(user, PREFIX + base64.urlsafe_b64encode(changed).rstrip(b"=").decode())


@pytest.mark.parametrize(
    "text",
    ["", "r1.", "r1.x", "r1.====", "r2." + "A" * 75, "r1." + "A" * 40, "r1." + "ä" * 75, "r1." + "A" * MAX_LENGTH,
     "r1." + base64.urlsafe_b64encode(struct.pack(">BB", 1, 255) + bytes(60)).decode()],
)  # fmt: skip
def test_rubbish_is_no_receipt(text: str) -> None:
    for read in (row_id, lambda text: Signer(KEY).read(new_id(), text)):
        with pytest.raises(InvalidInput):
            read(text)


def test_id_of_a_row_is_always_the_same_and_in_order_of_time() -> None:
    user, text = one()
    assert row_id(text) == row_id(text)
    assert row_id(text) != row_id(one(user=user)[1])
    assert row_id(text).version == 7
    assert first_id_of(NOW) <= row_id(text) < first_id_of(NOW + timedelta(milliseconds=1))
