"""How much a JSON document holds is counted before it is read."""

from __future__ import annotations

import contextvars
import json
from typing import Any

from paaplus import pauses
from paaplus.api import bodies


def test_values_are_counted_outside_of_texts() -> None:
    text = json.dumps({"note": 'a, "b", [c], {d} \\ \\"' * 50, "list": [1, 2, {"a": []}]}).encode()
    assert text.count(b",") > 50
    assert not bodies.has_more_values(text, 7)  # two objects, two lists, and three commas between values
    assert bodies.has_more_values(text, 6)
    assert not bodies.has_more_values(b'"' + b"," * 500 + b'"', 100)


def test_a_large_document_is_read_in_parts_with_pauses_between_them_and_a_small_one_is_not() -> None:
    num_pauses = 0

    class Counting:
        def pause(self) -> None:
            nonlocal num_pauses
            num_pauses += 1

        def others_are_active(self) -> bool:
            return True

    def read(body: bytes) -> tuple[Any, int]:
        nonlocal num_pauses
        num_pauses = 0
        pauses.use(Counting())
        parsed = bodies._parse_large(body, bodies.MAX_VALUES)
        return parsed, num_pauses

    items = [{"a": [number, "x,[{" * 9]} for number in range(4 * bodies.PART_OBJECTS)]
    context = contextvars.copy_context()
    assert context.run(read, json.dumps(items).encode()) == (items, 2 + 4)
    too_many = b"[" + b"1," * (8 * bodies.PART) + b"1]"
    num_pauses = 0
    context.run(pauses.use, Counting())
    assert context.run(bodies.has_more_values, too_many, 8 * bodies.PART - 1)
    assert num_pauses >= 7
    assert not bodies.has_more_values(too_many, 8 * bodies.PART + 2)
