"""The report's plots as inline SVG. Colours come from the page's CSS classes, so they follow its theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Person = Mapping[str, Any]

LEARNER_CLASS = {"bottleneck": "bottleneck", "taste_vector": "taste"}


def learning_curves(people: Sequence[Person], generic: float, means: Sequence[float]) -> str:
    """SRCC on unseen images before and after each increment: thin lines for people, a thick one for their mean."""
    width, height, left, right, top, bottom = 560, 350, 44, 118, 16, 44
    every = [value for person in people for value in person["srcc_by_increment"]]
    low, high = _nice_range([*every, generic])
    steps = len(means) - 1

    def x(step: float) -> float:
        return left + step / steps * (width - left - right)

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    parts = [_grid(low, high, left, width - right, y)]
    for step in range(steps + 1):
        label = "before" if step == 0 else f"+{step}"
        parts.append(f'<text class="tick" x="{x(step):.1f}" y="{height - 22}" text-anchor="middle">{label}</text>')
    parts.append(
        f'<text class="tick" x="{x(steps / 2):.1f}" y="{height - 5}" text-anchor="middle">increments of feedback</text>'
    )
    for person in people:
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(person["srcc_by_increment"]))
        name = LEARNER_CLASS.get(person["adapter"], "taste")
        title = f"{escape(person['id'])}: {', '.join(f'{v:.3f}' for v in person['srcc_by_increment'])}"
        parts.append(f'<polyline class="thin {name}" points="{points}"><title>{title}</title></polyline>')
    end = x(steps)
    parts.append(
        f'<line class="generic dash" x1="{x(0):.1f}" x2="{end:.1f}" y1="{y(generic):.1f}" y2="{y(generic):.1f}"/>'
    )
    points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(means))
    parts.append(f'<polyline class="thick" points="{points}"/>')
    parts += [f'<circle class="dot" cx="{x(i):.1f}" cy="{y(v):.1f}" r="4.5"/>' for i, v in enumerate(means)]
    label_y = _apart(y(means[-1]), y(generic), 16)
    parts.append(
        f'<text class="label strong" x="{end + 10:.1f}" y="{label_y[0] + 4:.1f}">personal {means[-1]:.3f}</text>'
    )
    parts.append(f'<text class="label muted" x="{end + 10:.1f}" y="{label_y[1] + 4:.1f}">generic {generic:.3f}</text>')
    return _svg(width, height, "SRCC on unseen images after each increment", parts)


def dumbbells(people: Sequence[Person]) -> str:
    """Generic against personal SRCC of every person, the largest gain on top."""
    ordered = sorted(people, key=lambda person: -person["gain"])
    row, left, right, top = 26, 92, 72, 30
    width, height = 560, top + row * len(ordered) + 28
    low, high = _nice_range([v for p in ordered for v in (p["srcc_generic"], p["srcc_personal"])])

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    parts = []
    for value in _ticks(low, high):
        parts.append(f'<line class="grid" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{top - 10}" y2="{height - 24}"/>')
        parts.append(f'<text class="tick" x="{x(value):.1f}" y="{height - 8}" text-anchor="middle">{value:.1f}</text>')
    for place, person in enumerate(ordered):
        y = top + row * place + 6
        start, end = x(person["srcc_generic"]), x(person["srcc_personal"])
        name = LEARNER_CLASS.get(person["adapter"], "taste")
        parts.append(f'<text class="label" x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(person["id"])}</text>')
        parts.append(f'<line class="bar {name}" x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="hollow" cx="{start:.1f}" cy="{y}" r="5"/>')
        parts.append(f'<circle class="full {name}" cx="{end:.1f}" cy="{y}" r="6"/>')
        sign = "worse" if person["gain"] <= 0 else "better"
        parts.append(
            f'<text class="label {sign}" x="{width - 8}" y="{y + 4}" text-anchor="end">{person["gain"]:+.3f}</text>'
        )
    return _svg(width, height, "Generic and personal SRCC of every person", parts)


def memory(people: Sequence[Person]) -> str:
    """SRCC on the first increment's images after each increment, mean of each way to learn."""
    width, height, left, right, top, bottom = 560, 220, 48, 150, 16, 44
    groups: dict[str, list[Sequence[float]]] = {}
    for person in people:
        groups.setdefault(person["adapter"], []).append(person["srcc_first_increment"])
    means = {name: [sum(v[i] for v in rows) / len(rows) for i in range(len(rows[0]))] for name, rows in groups.items()}
    low, high = _nice_range([value for values in means.values() for value in values], margin=0.05)
    steps = max(len(next(iter(means.values()))) - 1, 1)

    def x(step: float) -> float:
        return left + step / steps * (width - left - right)

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    parts = [_grid(low, high, left, width - right, y)]
    for step in range(steps + 1):
        parts.append(
            f'<text class="tick" x="{x(step):.1f}" y="{height - 22}" text-anchor="middle">after +{step + 1}</text>'
        )
    names = list(means)
    ends = _apart(y(means[names[0]][-1]), y(means[names[-1]][-1]), 16)
    for name, end in zip(names, ends if len(names) > 1 else ends[:1], strict=False):
        css = LEARNER_CLASS.get(name, "taste")
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(means[name]))
        parts.append(f'<polyline class="medium {css}" points="{points}"/>')
        parts += [
            f'<circle class="full {css}" cx="{x(i):.1f}" cy="{y(v):.1f}" r="4"/>' for i, v in enumerate(means[name])
        ]
        parts.append(
            f'<text class="label" x="{x(steps) + 10:.1f}" y="{end + 4:.1f}">{escape(name)} {means[name][-1]:.3f}</text>'
        )
    return _svg(width, height, "SRCC on the first increment's images", parts)


def _grid(low: float, high: float, left: float, right: float, y: Any) -> str:
    lines = []
    for value in _ticks(low, high):
        lines.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        lines.append(f'<text class="tick" x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    return "".join(lines)


def _nice_range(values: Sequence[float], margin: float = 0.03) -> tuple[float, float]:
    """Tenths around the values; never empty."""
    low = int((min(values) - margin) * 10 // 1) / 10
    high = -int(-(max(values) + margin) * 10 // 1) / 10
    return low, max(high, low + 0.1)


def _ticks(low: float, high: float) -> list[float]:
    """Tenths in the range, or every second one (0.2, 0.4, ...) where they are many."""
    first, last = round(low * 10), round(high * 10)
    step = 2 if last - first > 6 else 1
    return [tenth / 10 for tenth in range(first, last + 1) if tenth % step == 0]


def _apart(first: float, second: float, gap: float) -> tuple[float, float]:
    """Two label heights, pushed apart if they would overlap."""
    if abs(first - second) >= gap:
        return first, second
    middle, sign = (first + second) / 2, 1 if first > second else -1
    return middle + sign * gap / 2, middle - sign * gap / 2


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
