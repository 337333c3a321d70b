"""How much a JSON document holds is counted before it is read."""

from __future__ import annotations

import json

from paaplus.api import bodies


def test_values_are_counted_outside_of_texts() -> None:
    text = json.dumps({"note": 'a, "b", [c], {d} \\ \\"' * 50, "list": [1, 2, {"a": []}]}).encode()
    assert text.count(b",") > 50
    assert not bodies.has_more_values(text, 7)  # two objects, two lists, and three commas between values
    assert bodies.has_more_values(text, 6)
    assert not bodies.has_more_values(b'"' + b"," * 500 + b'"', 100)
