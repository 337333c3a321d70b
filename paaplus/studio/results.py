"""Recorded evaluation runs: folders of JSON files, read as tables of numbers with intervals.

A folder is as `benchmarks/results` has them: `2026-11-28-stream-oasis_beauty/` with `run.json` (the command and its
conditions) and documents. What a document means is not known here: every list of objects with the same fields is a
table, a field of words or whole numbers names its rows, and a number is a metric, with an interval if the document
gives one (`{"mean", "low", "high"}`, `{"share", ...}`, or `x`, `x_low`, `x_high`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import structlog

from paaplus.errors import NotFound

MAX_BYTES: Final = 20 * 2**20  # of one document
MAX_ROWS: Final = 400
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
STEPS: Final = ("k", "answers", "ratings", "pairs", "count", "increment", "size")  # what a curve goes along
_COUNTS: Final = ("num_people", "num_users", "num_images", "seed", "seeds", "num")
_MIDDLE: Final = ("mean", "share", "median")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Value:
    """A number, and its interval if there is one."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One row of a table: what it is about, and its metrics."""

    name: str
    step: float | None
    values: dict[str, Value]


@dataclass(frozen=True)
class Table:
    """Rows that can be compared. `step`: the field that a curve goes along; None: there is none."""

    title: str
    step: str | None
    rows: list[Row]

    @property
    def metrics(self) -> list[str]:
        """Metrics of the rows; those with intervals first, in the order of the document."""
        found: dict[str, bool] = {}
        for row in self.rows:
            for name, value in row.values.items():
                found[name] = found.get(name, False) or value.low is not None
        return sorted(found, key=lambda name: not found[name])


@dataclass(frozen=True)
class Run:
    """One folder. `about`: command, commit and conditions."""

    name: str
    date: date | None
    about: dict[str, Any] = field(default_factory=dict)
    documents: tuple[str, ...] = ()


def list_runs(folder: Path | None) -> list[Run]:
    """The runs of a folder, newest first. A folder that is not there has none."""
    if folder is None or not folder.is_dir():
        return []
    found = [_run(each) for each in folder.iterdir() if each.is_dir() and NAME.fullmatch(each.name)]
    return sorted(
        (run for run in found if run.documents), key=lambda run: (run.date or date.min, run.name), reverse=True
    )


def get_run(folder: Path | None, name: str) -> Run:
    """One run by its name.

    Raises:
        NotFound: there is none.
    """
    if folder is not None and NAME.fullmatch(name) and (folder / name).is_dir():
        return _run(folder / name)
    raise NotFound(f"no run {name!r:.140}")


def read_tables(folder: Path | None, run: Run, document: str) -> list[Table]:
    """The tables of a document.

    Raises:
        NotFound: the run has no such document, or it cannot be read.
    """
    if folder is None or document not in run.documents:
        raise NotFound(f"no document {document!r:.140}")
    content = _read(folder / run.name / f"{document}.json")
    if content is None:
        raise NotFound(f"{document!r:.140} cannot be read")
    config = content.get("config", {}) if isinstance(content, dict) else {}
    main = str(config.get("personal") or "–")[:80]  # what a row without a name is about
    lists = list(_lists(content, ""))
    tables = [_table(title, rows, main) for title, rows in lists]
    tables += [_growth(title, rows) for title, rows in lists if all(_is_curve(row.get("curve")) for row in rows)]
    return [table for table in tables if table.rows and table.metrics]


def _run(folder: Path) -> Run:
    about = _read(folder / "run.json")
    stems = sorted(file.stem for file in folder.glob("*.json") if NAME.fullmatch(file.stem))
    names = [stem for stem in stems if stem.split("-")[0] != "run"]  # `run-first`: of an earlier run of the day
    names.sort(key=lambda name: name not in folder.name)  # the study's own document before its variants
    try:
        made = date.fromisoformat(folder.name[:10])
    except ValueError:
        made = None
    return Run(folder.name, made, about if isinstance(about, dict) else {}, tuple(names))


def _read(file: Path) -> Any:
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # a file that somebody else writes, or that is none of ours
        log.warning("result_unreadable", file=file.name, error=type(error).__name__)
        return None


def _lists(content: Any, title: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The lists of objects of a document, with the names of the fields that lead to them."""
    if isinstance(content, list) and content and all(isinstance(each, dict) for each in content):
        yield title, content[:MAX_ROWS]
    elif isinstance(content, dict):
        for name, inner in content.items():
            if name not in ("config", "rows"):  # `rows` has every seed by itself; `summary` has their means
                yield from _lists(inner, name if not title or title == "summary" else f"{title}, {name}")


def _is_curve(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(map(_is_number, value))


def _growth(title: str, rows: list[dict[str, Any]]) -> Table:
    """The table of a metric after every increment of a stream."""
    found = [
        Row(str(row.get("learner", "–"))[:80], float(place), {"srcc": Value(float(value))})
        for row in rows
        for place, value in enumerate(row["curve"], 1)
    ]
    return Table(f"{title}, after each increment", "increment", found)


def _table(title: str, rows: list[dict[str, Any]], main: str) -> Table:
    step = next(
        (name for name in STEPS if len({str(row.get(name)) for row in rows if _is_number(row.get(name))}) > 1), None
    )
    found: list[Row] = []
    for row in rows:
        words = [
            str(value) for name, value in row.items() if isinstance(value, str) and len(value) <= 80 and name != "state"
        ]
        others = [
            f"{name} {value:g}"
            for name, value in row.items()
            if _is_number(value) and name in STEPS and name != step and len({str(each.get(name)) for each in rows}) > 1
        ]
        name = ", ".join([*words, *others])
        at = float(row[step]) if step is not None and _is_number(row.get(step)) else None
        own = {} if not words else dict(_values(row, "", (*STEPS, *_COUNTS)))
        inner = {key: value for key, value in row.items() if isinstance(value, dict) and not _is_value(value)}
        if own:
            found.append(Row(name, at, own))
            continue
        parts = {key: dict(_values(value, "", _COUNTS)) for key, value in inner.items()}
        if plain := dict(_values({k: v for k, v in row.items() if k not in inner}, "", (*STEPS, *_COUNTS))):
            found.append(Row(name or main, at, plain))
        found += [Row(", ".join(filter(None, (name, key))), at, values) for key, values in parts.items() if values]
    return Table(title, step, found)


def _values(row: Mapping[str, Any], prefix: str, left_out: tuple[str, ...]) -> Iterator[tuple[str, Value]]:
    """The metrics of an object; those of inner objects by both names."""
    for name, value in row.items():
        if name in left_out or name.endswith(("_low", "_high")):
            continue
        if _is_value(value):
            middle = next(value[key] for key in _MIDDLE if _is_number(value.get(key)))
            yield prefix + name, Value(float(middle), float(value["low"]), float(value["high"]))
        elif isinstance(value, dict):
            yield from _values(value, f"{prefix}{name} ", left_out)
        elif _is_number(value):
            low, high = row.get(f"{name}_low", math.nan), row.get(f"{name}_high", math.nan)
            has_both = _is_number(low) and _is_number(high)
            yield (
                prefix + name,
                Value(float(value), float(low) if has_both else None, float(high) if has_both else None),
            )


def _is_value(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_number(value.get("low"))
        and _is_number(value.get("high"))
        and any(_is_number(value.get(key)) for key in _MIDDLE)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
