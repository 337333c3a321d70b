"""Research: recorded evaluation runs as plots, strategies side by side with their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from starlette.responses import Response

import paaplus
from paaplus.settings import Settings
from paaplus.studio import plots, results
from paaplus.studio.calls import Call

LOOKED_AT: Final = 200  # runs, for one with intervals: a day of measurements of speed makes dozens
MOST_PLOTS: Final = 4  # of one table at once; the others are a choice away
FIRST: Final = ("srcc", "gain", "personal", "forgetting", "negative_flip_rate", "ms_per_user", "cpu_ms")


def page(call: Call) -> Response:
    """The runs, and the chosen one's plots."""
    folder = folder_of(call.context.settings)
    runs = results.list_runs(folder)
    if not runs:
        return call.page("research.html", runs=[], run=None, folder=str(folder) if folder is not None else None)
    query = call.request.query_params
    run = results.get_run(folder, query["run"]) if query.get("run") else _most_telling(folder, runs)
    document = query.get("document") or (run.documents[0] if run.documents else "")
    tables = results.read_tables(folder, run, document) if document else []
    wanted = query.get("metric") or ""
    metrics = list(dict.fromkeys(metric for table in tables for metric in table.metrics))
    return call.page(
        "research.html",
        runs=runs,
        run=run,
        document=document,
        metrics=metrics,
        metric=wanted if wanted in metrics else "",
        tables=[_shown(table, wanted) for table in tables],
        folder=str(folder),
    )


def folder_of(settings: Settings) -> Path | None:
    """The folder of recorded runs: the one that is set; else the repository's, if this is one; else none."""
    if settings.results_folder is not None:
        return settings.results_folder
    own = Path(paaplus.__file__).parents[1] / "benchmarks" / "results"
    return own if own.is_dir() else None


def _most_telling(folder: Path | None, runs: list[results.Run]) -> results.Run:
    """The newest run that compares several with intervals; the newest of all if there is none."""
    for run in runs[:LOOKED_AT]:
        for table in results.read_tables(folder, run, run.documents[0]):
            if len(table.rows) > 2 and any(
                value.low is not None for row in table.rows for value in row.values.values()
            ):
                return run
    return runs[0]


def _shown(table: results.Table, wanted: str) -> dict[str, Any]:
    metrics = [wanted] if wanted in table.metrics else _first(table.metrics)
    found = [plots.plot(table, metric) for metric in metrics]
    rows = [
        {
            "name": row.name,
            "step": row.step,
            "values": [
                plots.interval(value.mean, value.low, value.high) if (value := row.values.get(metric)) else ""
                for metric in metrics
            ],
        }
        for row in table.rows
    ]
    return {
        "title": table.title,
        "step": table.step,
        "metrics": metrics,
        "plots": [each for each in found if each is not None],
        "rows": rows,
    }


def _first(metrics: list[str]) -> list[str]:
    """The metrics that are shown before one is chosen: the usual ones, then the document's own."""
    usual = [metric for metric in FIRST if metric in metrics]
    return (usual + [metric for metric in metrics if metric not in usual])[:MOST_PLOTS]
