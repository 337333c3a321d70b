"""Columns of users.csv as the answers of a survey.

Shape letters: Q = answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.numbers import parse_number

_MAX_WORDS = 12  # distinct values of a column of words


def column_answers(user_columns: Mapping[str, Mapping[str, str]], people: Sequence[str]) -> dict[str, np.ndarray]:
    """Each person's answers, shape (Q,), from the columns of users.csv; NaN where a person has no value.

    A column of numbers is one answer. A column of at most 12 distinct words is one answer (0 or 1) per word. A column
    with more words, such as names, is left out.

    Args:
        user_columns: user id -> column -> value.
        people: user ids.

    Raises:
        InvalidInput: no column is left.
    """
    names = sorted({name for columns in user_columns.values() for name in columns})
    columns: list[dict[str, float]] = []
    for name in names:
        text = {user_id: user_columns.get(user_id, {}).get(name, "").strip() for user_id in people}
        filled = {user_id: value for user_id, value in text.items() if value}
        try:
            columns.append({user_id: parse_number(value) for user_id, value in filled.items()})
        except InvalidInput:
            words = sorted(set(filled.values()))
            if len(words) <= _MAX_WORDS:
                columns += [{user_id: float(value == word) for user_id, value in filled.items()} for word in words]
    if not columns:
        raise InvalidInput(f"users.csv has no column of numbers, and none with at most {_MAX_WORDS} distinct words")
    return {user_id: np.array([column.get(user_id, np.nan) for column in columns]) for user_id in people}
