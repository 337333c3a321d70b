"""Recorded runs as tables and plots: the repository's own, made-up ones, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paaplus.errors import NotFound
from paaplus.studio import plots, research, results
from paaplus.studio.results import Value

OWN = Path(__file__).parents[2] / "benchmarks" / "results"


def record(folder: Path, name: str, **documents: Any) -> None:
    (folder / name).mkdir()
    for document, content in documents.items():
        (folder / name / f"{document}.json").write_text(json.dumps(content))


@pytest.mark.slow
def test_every_run_of_the_repository_has_tables_that_can_be_drawn() -> None:
    runs = results.list_runs(OWN)
    assert len(runs) > 10
    for run in runs:
        for document in run.documents:
            for table in results.read_tables(OWN, run, document):
                for metric in table.metrics:
                    plot = plots.plot(table, metric)
                    assert plot is not None
                    assert plot.dots or plot.curves, (run.name, document, metric)


def test_strategies_stand_beside_each_other_with_their_intervals(tmp_path: Path) -> None:
    rows = [
        {"learner": "a", "num_people": 3, "srcc": {"mean": 0.5, "low": 0.4, "high": 0.6}, "seconds": 2.0},
        {"learner": "b", "num_people": 3, "srcc": {"mean": -0.1, "low": -0.2, "high": 0.1}, "seconds": 1.0},
    ]
    record(tmp_path, "2026-01-02-stream", stream={"summary": {"steady": rows}, "config": {"rows": rows}})
    [run] = results.list_runs(tmp_path)
    [table] = results.read_tables(tmp_path, run, "stream")
    assert (table.title, table.step, table.metrics) == ("steady", None, ["srcc", "seconds"])
    assert table.rows[0].values["srcc"] == Value(0.5, 0.4, 0.6)
    plot = plots.plot(table, "srcc")
    assert plot is not None
    assert [dot.name for dot in plot.dots] == ["a", "b"]
    first, second = plot.dots
    assert first.x_low is not None
    assert first.x_high is not None
    assert first.x_low < first.x < first.x_high
    assert second.x < first.x
    assert plot.zero is not None
    assert second.text == "-0.100 [-0.200, 0.100]"


def test_what_changes_with_a_number_of_ratings_is_a_curve_with_a_band(tmp_path: Path) -> None:
    summary = [
        {"k": k, "gain": 0.01 * k, "gain_low": 0.0, "gain_high": 0.02 * k + 0.01, "other": {"gain": 0.02 * k}}
        for k in (0, 10, 100)
    ]
    record(tmp_path, "2026-01-02-kshot", kshot={"summary": summary, "config": {"personal": "bayes"}})
    [run] = results.list_runs(tmp_path)
    [table] = results.read_tables(tmp_path, run, "kshot")
    plot = plots.plot(table, "gain")
    assert plot is not None
    assert [(curve.name, bool(curve.band)) for curve in plot.curves] == [("bayes", True), ("other", False)]
    assert len(plot.curves[0].points) == 3
    assert [tick.text for tick in plot.x_ticks] == ["0", "10", "100"]


def test_runs_come_newest_first_and_what_is_no_run_is_left_out(tmp_path: Path) -> None:
    rows = [{"what": "x", "ms": 1.0}]
    record(tmp_path, "2026-01-01-old", old=rows)
    record(tmp_path, "2026-02-01-new", new=rows, run={"command": "make it"})
    record(tmp_path, "empty")
    (tmp_path / "notes.md").write_text("no run")
    runs = results.list_runs(tmp_path)
    assert [run.name for run in runs] == ["2026-02-01-new", "2026-01-01-old"]
    assert runs[0].about == {"command": "make it"}
    assert results.list_runs(tmp_path / "absent") == []
    assert results.list_runs(None) == []


def test_the_run_that_is_shown_first_has_intervals_however_many_came_after_it(tmp_path: Path) -> None:
    told = [{"k": k, "gain": 0.1, "gain_low": 0.0, "gain_high": 0.2} for k in (0, 10, 100)]
    record(tmp_path, "2026-01-01-study", study={"summary": told})
    for number in range(30):
        record(tmp_path, f"2026-02-01-speed{number}", speed=[{"what": "x", "ms": 1.0}])
    assert research._most_telling(tmp_path, results.list_runs(tmp_path)).name == "2026-01-01-study"


def test_the_commands_of_earlier_runs_are_no_documents(tmp_path: Path) -> None:
    rows = [{"what": "x", "ms": 1.0}]
    record(tmp_path, "2026-01-01-speed", **{"speed": rows, "speed-first": rows, "run-first": {"command": "make it"}})
    assert results.list_runs(tmp_path)[0].documents == ("speed", "speed-first")


def test_names_that_lead_outside_are_no_runs(tmp_path: Path) -> None:
    record(tmp_path, "2026-01-01-old", old=[{"what": "x", "ms": 1.0}])
    inside = tmp_path / "2026-01-01-old"
    for name in ("..", "../2026-01-01-old", "/etc", "", "."):
        with pytest.raises(NotFound):
            results.get_run(inside, name)
    run = results.get_run(tmp_path, "2026-01-01-old")
    with pytest.raises(NotFound):
        results.read_tables(tmp_path, run, "../2026-01-01-old/old")


@pytest.mark.parametrize("text", ["", "no json", "[]", "3", '{"summary": "x"}', '[{"a": NaN}]', "[[1]]"])
def test_a_document_that_is_none_has_no_table(tmp_path: Path, text: str) -> None:
    record(tmp_path, "2026-01-01-odd", odd=[])
    (tmp_path / "2026-01-01-odd" / "odd.json").write_text(text)
    [run] = results.list_runs(tmp_path)
    try:
        assert results.read_tables(tmp_path, run, "odd") == []
    except NotFound:
        assert text in ("", "no json")
