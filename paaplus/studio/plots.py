"""Plots as SVG that the server writes: dots with intervals, and curves with bands. Colours come from the style sheet.

A plot is a picture of at most `SHOWN` series. Its texts are escaped by the template that shows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from paaplus.studio.results import Row, Table

WIDTH: Final = 400  # units of the drawing, so that texts are as large on a phone as elsewhere
ROW_HEIGHT: Final = 36  # the name above, the interval below
CURVE_HEIGHT: Final = 240
SHOWN: Final = 60
SERIES: Final = 8  # of a curve: more are not told apart
_MARGIN: Final = 14
_AXIS: Final = 26


@dataclass(frozen=True, slots=True)
class Tick:
    """A place of an axis and what stands there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One row: its name, and where its middle and interval are drawn."""

    name: str
    y: float
    x: float
    x_low: float | None
    x_high: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """One series: the line through its points and the band of its intervals, as SVG points."""

    name: str
    number: int
    line: str
    band: str
    points: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Plot:
    """A plot of one metric. `dots` or `curves`, never both; `zero`: where 0 is, if it is inside."""

    metric: str
    width: float
    height: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    zero: float | None
    dots: list[Dot]
    curves: list[Curve]
    num_left_out: int


def plot(table: Table, metric: str) -> Plot | None:
    """The plot of a metric; None: no row has it."""
    rows = [row for row in table.rows if metric in row.values]
    if not rows:
        return None
    names = {row.name for row in rows}
    if table.step is not None and len(rows) > len(names) and all(row.step is not None for row in rows):
        return _curves(rows, metric)
    return _dots(rows, metric)


def shown(value: float) -> str:
    """A number in three digits, as plots and tables write it."""
    if value == 0 or 0.001 <= abs(value) < 10_000:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
        return f"{value:.{digits}f}"
    return f"{value:.2g}"


def interval(value: float, low: float | None, high: float | None) -> str:
    return shown(value) if low is None or high is None else f"{shown(value)} [{shown(low)}, {shown(high)}]"


def _dots(rows: list[Row], metric: str) -> Plot:
    left_out, rows = max(0, len(rows) - SHOWN), rows[:SHOWN]
    low, high = _range(rows, metric)
    left, right = _MARGIN, WIDTH - _MARGIN
    height = ROW_HEIGHT * len(rows) + _AXIS + _MARGIN

    def at(value: float) -> float:
        return round(left + (right - left) * (value - low) / (high - low), 2)

    dots = []
    for place, row in enumerate(rows):
        value = row.values[metric]
        dots.append(
            Dot(
                row.name,
                _MARGIN + ROW_HEIGHT * (place + 0.75),
                at(value.mean),
                at(value.low) if value.low is not None else None,
                at(value.high) if value.high is not None else None,
                interval(value.mean, value.low, value.high),
            )
        )
    ticks = [Tick(at(value), _short(value)) for value in _ticks(low, high)]
    return Plot(metric, WIDTH, height, ticks, [], at(0) if low < 0 < high else None, dots, [], left_out)


def _curves(rows: list[Row], metric: str) -> Plot:
    names = list(dict.fromkeys(row.name for row in rows))
    left_out, names = max(0, len(names) - SERIES), names[:SERIES]
    rows = [row for row in rows if row.name in names]
    low, high = _range(rows, metric)
    steps = sorted({row.step for row in rows if row.step is not None})
    left, right, top, bottom = 54.0, WIDTH - 2.0 * _MARGIN, float(_MARGIN), float(CURVE_HEIGHT - _AXIS)
    first, span = steps[0], (steps[-1] - steps[0]) or 1.0

    def x(step: float) -> float:
        return round(left + (right - left) * (step - first) / span, 2)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * (value - low) / (high - low), 2)

    curves = []
    for number, name in enumerate(names):
        own = sorted((row for row in rows if row.name == name), key=lambda row: row.step or 0.0)
        points = [(x(row.step or 0.0), row.values[metric]) for row in own]
        upper = [(at, y(value.high)) for at, value in points if value.high is not None and value.low is not None]
        lower = [(at, y(value.low)) for at, value in points if value.low is not None and value.high is not None]
        curves.append(
            Curve(
                name,
                number,
                _joined([(at, y(value.mean)) for at, value in points]),
                _joined([*upper, *reversed(lower)]),
                tuple((at, y(value.mean), interval(value.mean, value.low, value.high)) for at, value in points),
            )
        )
    x_ticks = [Tick(x(step), f"{step:g}") for step in steps[:: math.ceil(len(steps) / 10)]]
    y_ticks = [Tick(y(value), _short(value)) for value in _ticks(low, high)]
    zero = y(0) if low < 0 < high else None
    return Plot(metric, WIDTH, CURVE_HEIGHT, x_ticks, y_ticks, zero, [], curves, left_out)


def _range(rows: list[Row], metric: str) -> tuple[float, float]:
    """The least and the greatest number of the intervals, with a little room."""
    values = [row.values[metric] for row in rows]
    numbers = [each for value in values for each in (value.mean, value.low, value.high) if each is not None]
    low, high = min(numbers), max(numbers)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers inside the range."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    first = math.ceil(low / step)
    return [place * step for place in range(first, math.floor(high / step) + 1)]


def _short(value: float) -> str:
    return f"{value:.4g}" if value else "0"


def _joined(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
