"""One check of a candidate, as the gate's report holds it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GateCheck:
    """One check of a candidate.

    `value` is compared with `limit`; None: there was too little to measure. `detail` is a sentence, see `wording`.
    """

    name: str
    passed: bool
    value: float | None
    limit: float
    detail: str
