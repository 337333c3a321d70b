"""The report: faults, promises and findings, as one JSON document and as text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from paaplus.chaos.invariants import Check
from paaplus.chaos.ledger import Ledger
from paaplus.chaos.trouble import Tally

MAX_TOLD: Final = 5  # contradictions shown per promise


def load_of(ledger: Ledger, seconds: float, rows: dict[str, int]) -> dict[str, Any]:
    """The load during the faults.

    Args:
        rows: counts of the database at the end, without erased users.
    """
    latencies = sorted(ledger.latencies_s)
    total = sum(ledger.answers.values())
    broken = sum(count for (_, status), count in ledger.answers.items() if status in (0, 503))
    return {
        "seconds": round(seconds, 1),
        "requests": total,
        "requests_per_s": round(total / seconds, 1),
        "without_answer_or_503": broken,
        "latency_p50_s": round(latencies[len(latencies) // 2], 4) if latencies else None,
        "latency_p99_s": round(latencies[int(0.99 * (len(latencies) - 1))], 3) if latencies else None,
        "events_acknowledged": len(ledger.acknowledged),
        "events_posted_again": ledger.num_duplicates,
        "predictions_scored": len(ledger.scored),
        "admin_acts": ledger.count("admin act"),
        "users_erased": len(ledger.erased),
        **rows,
    }


def make_report(
    head: dict[str, Any],
    load: dict[str, Any],
    points: dict[str, bool],
    tallies: dict[str, Tally],
    exits: dict[str, int],
    checks: list[Check],
) -> dict[str, Any]:
    """The report as a JSON document.

    Args:
        points: by fault point, whether the drill at the beginning reached it.
    """
    return {
        **head,
        "ok": not any(check.problems for check in checks),
        "load": load,
        "fault_points": {name: points[name] for name in sorted(points)},
        "faults": {name: asdict(tally) for name, tally in sorted(tallies.items())},
        "num_faults": sum(tally.reached for tally in tallies.values()),
        "unexpected_exits": exits,
        "checks": [
            {
                "promise": check.promise,
                "ok": not check.problems,
                "checked": check.num_checked,
                "num_problems": len(check.problems),
                "problems": check.problems[:MAX_TOLD],
            }
            for check in checks
        ],
    }


def as_text(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = [f"paaplus chaos, seed {report['seed']}, on {report['database']} and {report['broker']}", "", "load held"]
    lines += [f"  {name.replace('_', ' '):28}{value}" for name, value in report["load"].items()]
    reached = [name for name, was_reached in report["fault_points"].items() if was_reached]
    lines += ["", f"fault points: {len(reached)} of {len(report['fault_points'])} were reached in the drill"]
    lines += [f"  not reached: {name}" for name in report["fault_points"] if name not in reached]
    lines += ["", f"faults{'':51}tried  reached  survived"]
    for name, tally in report["faults"].items():
        lines.append(f"  {name:54}{tally['tried']:6}{tally['reached']:9}{tally['survived']:10}")
    if report["unexpected_exits"]:
        lines += ["", "processes that ended by themselves and were started again"]
        lines += [f"  {name}: {count}" for name, count in report["unexpected_exits"].items()]
    lines += ["", "promises"]
    for check in report["checks"]:
        lines.append(f"  {'kept  ' if check['ok'] else 'BROKEN'}  {check['promise']} ({check['checked']} checked)")
        lines += [f"            {problem}" for problem in check["problems"]]
        if check["num_problems"] > len(check["problems"]):
            lines.append(f"            and {check['num_problems'] - len(check['problems'])} more")
    lines += ["", "every promise was kept" if report["ok"] else "PROMISES WERE BROKEN"]
    return "\n".join(lines)
