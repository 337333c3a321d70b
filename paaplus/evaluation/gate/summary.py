"""From single judgements to shares per learner, kind of version and k, ready for JSON, tables and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paaplus.evaluation.gate.spoiled_ratings import HONEST, SPOIL
from paaplus.evaluation.intervals import by_person, mean_with_interval
from paaplus.evaluation.report_files import markdown_table, write_files

FIRST, UPDATE = "first", "update"
GATE, HELD_OUT_ONLY, PLAIN = "gate", "held_out_only", "plain"
HEADINGS = (
    "learner",
    "version",
    "k",
    "rule",
    "bad live",
    "95 %",
    *SPOIL,
    "good refused",
    "95 %",
    "honest, worse, live",
)


@dataclass(frozen=True)
class Judged:
    """One candidate: what it truly is, and what every rule said. Gains are of truth, better positive."""

    user_id: str
    learner: str
    when: str
    k: int
    origin: str
    is_worse: bool
    mse_gain: float
    srcc_gain: float
    live: dict[str, bool]
    seconds: float


def summary(judged: Sequence[Judged], learners: Sequence[str], ks: Sequence[int]) -> list[dict[str, Any]]:
    """One entry per learner, kind of version and k that anybody was judged at."""
    entries = []
    for learner in learners:
        for when in (FIRST, UPDATE):
            for k in ks:
                some = [j for j in judged if (j.learner, j.when, j.k) == (learner, when, k)]
                if some:
                    entries.append({"learner": learner, "when": when, "k": k, **_entry(some)})
    return entries


def _entry(judged: Sequence[Judged]) -> dict[str, Any]:
    honest = [j for j in judged if j.origin == HONEST]
    spoiled = [j for j in judged if j.origin != HONEST]
    return {
        "num_people": len(honest),
        "good": {"num": _count(honest, False), "refused": _shares(honest, worse=False, live=False)},
        "bad": {"num": _count(spoiled, True), "live": _shares(spoiled, worse=True, live=True)},
        "honest_but_worse": {"num": _count(honest, True), "live": _shares(honest, worse=True, live=True)},
        "spoiled_but_not_worse": {"num": _count(spoiled, False), "live": _shares(spoiled, worse=False, live=True)},
        "origins": {origin: _origin([j for j in judged if j.origin == origin]) for origin in (HONEST, *SPOIL)},
        "median_judge_ms": float(np.median([j.seconds for j in judged]) * 1000),
    }


def _origin(judged: Sequence[Judged]) -> dict[str, Any]:
    return {
        "mse_gain": float(np.mean([j.mse_gain for j in judged])),
        "srcc_gain": float(np.mean([j.srcc_gain for j in judged])),
        "share_worse": float(np.mean([j.is_worse for j in judged])),
        "live": {rule: float(np.mean([j.live[rule] for j in judged])) for rule in judged[0].live},
        "worse_live": _shares(judged, worse=True, live=True),
    }


def _count(judged: Sequence[Judged], worse: bool) -> int:
    return sum(j.is_worse is worse for j in judged)


def _shares(judged: Sequence[Judged], *, worse: bool, live: bool) -> dict[str, dict[str, float] | None]:
    """Per rule: the share that went live, or did not, of those that are worse, or not; None if there are none."""
    shares: dict[str, dict[str, float] | None] = {}
    for rule in judged[0].live:
        values = by_person((j.user_id, float(j.live[rule] is live)) for j in judged if j.is_worse is worse)
        shares[rule] = None
        if values:
            found = mean_with_interval(values)
            shares[rule] = {"share": found["mean"], "low": found["low"], "high": found["high"]}
    return shares


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`."""
    rows = []
    for entry in document["summary"]:
        for rule in entry["good"]["refused"]:
            rows.append(
                (
                    entry["learner"],
                    entry["when"],
                    str(entry["k"]),
                    rule.replace("_", " "),
                    *_with_interval(entry["bad"]["live"][rule]),
                    *(_share(entry["origins"][origin]["worse_live"][rule]) for origin in SPOIL),
                    *_with_interval(entry["good"]["refused"][rule]),
                    _share(entry["honest_but_worse"]["live"][rule]),
                )
            )
    return rows


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `gate.json` and `gate.md`; returns what was written.

    Raises:
        InvalidInput: `folder` is a file.
    """
    config = document["config"]
    lines = [
        f"# Operating curve of the gate on {Path(config['data']).name}",
        "",
        "Bad: made of spoiled ratings (held-out ones too), and truly worse than what it would replace on the person's "
        f"real ratings of unseen images: squared error higher by more than {config['mse_tolerance']}, or SRCC lower by "
        f"more than {config['srcc_tolerance']}. Good: of honest ratings, and not worse. Plain: live if the held-out "
        f"squared error is lower. Seeds {config['seeds']}; intervals: bootstrap over people.",
        "",
        *markdown_table(HEADINGS, table(document)),
        "",
    ]
    return write_files(folder, "gate", document, "\n".join(lines))


def _share(share: dict[str, float] | None) -> str:
    return "-" if share is None else f"{share['share']:.1%}"


def _with_interval(share: dict[str, float] | None) -> tuple[str, str]:
    return (_share(share), "-" if share is None else f"{share['low']:.1%} {share['high']:.1%}")
