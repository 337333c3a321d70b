"""Means and intervals per number of answers and method of the paradigm measurements, ready for JSON.

Shape letters: U = test people, T = numbers of answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paaplus.evaluation.paired import PairedMeasurement, compare_method, stack_people

FULL = "paa+"


def summary(measured: Sequence[PairedMeasurement], answers_T: Sequence[int]) -> list[dict[str, Any]]:
    """One entry per number of answers, with every method; `ahead` is the lead over `paa+` with as many answers.

    Raises:
        InvalidInput: the generic SRCC is defined for nobody.
    """
    people, generic_U, srcc_by_method = stack_people(measured)
    return [
        {"state": f"{answers} answers", "answers": answers}
        | {
            method: compare_method(people, srcc_UT[:, t], generic_U, srcc_by_method[FULL][:, t])
            for method, srcc_UT in srcc_by_method.items()
        }
        for t, answers in enumerate(answers_T)
    ]
