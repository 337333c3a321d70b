"""Run the robustness study: how easily ordinary filters raise the scores of a model, and which filter the model wants.

The report of one model and aspect is a document without times, so that the same images and model give the same bytes;
cost is counted in edits that were scored.

Shape letters: N = images, T = edits tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.evaluation.robustness.filters import FILTERS
from paaplus.evaluation.robustness.measures import art, basr, msi, rasr
from paaplus.evaluation.robustness.search import Attack, Scorer, attack, prepare

RESTRICTED, UNRESTRICTED = 0.05, 0.15  # mean absolute change of pixels
BUDGETS = {"restricted": RESTRICTED, "unrestricted": UNRESTRICTED}
_ALIKE = 0.02  # share of the largest gain within which two filters count as equally strong
_SMALL_RISE = 0.1  # score points: a mean rise below it is called robust
_ART_TOLERANCE = 1.0  # percentage points


@dataclass(frozen=True)
class Subject:
    """A model that is attacked: its name, its aspect and its scores of images.

    `score` raises InvalidInput for images that the model refuses.
    """

    name: str
    aspect: str
    score: Scorer


@dataclass(frozen=True)
class NamedImage:
    """An image with the name that the report gives it."""

    name: str
    image: Image.Image


@dataclass(frozen=True)
class SubjectReport:
    """What was found: a document, ready for JSON, and the attack on each image, in its order."""

    document: dict[str, Any]
    attacks: list[tuple[str, Attack]]


def run_robustness(
    subject: Subject,
    images: Sequence[NamedImage],
    budget: float = RESTRICTED,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SubjectReport:
    """Attack every image within a budget.

    Returns:
        The report. Its document has `measures`, `filters` (gain and RASR of each filter alone), `wants` (the filter
        that raises scores most; None if none does), `sentence`, `images`, `refused` and `edits_scored`.

    Raises:
        InvalidInput: a budget that is not within 0-1, no image, or the model refuses all of them.
    """
    if not 0.0 <= budget <= 1.0:
        raise InvalidInput(f"budget {budget}: a mean absolute change of pixels, 0 to 1")
    attacks: list[tuple[str, Attack]] = []
    refused: dict[str, str] = {}
    for done, one in enumerate(images):
        progress(done, len(images))
        try:
            attacks.append((one.name, attack(prepare(one.image), subject.score, budget)))
        except InvalidInput as error:
            refused[one.name] = str(error)[:300]
    progress(len(images), len(images))
    if not attacks:
        raise InvalidInput(f"{subject.name}: no image to attack; {len(refused)} refused")
    found = [one for _, one in attacks]
    clean, attacked = [one.clean for one in found], [one.attacked for one in found]
    filters = {name: _of_filter(name, found) for name in FILTERS}
    wants = _wants(filters)
    steps, course = _course(found)
    measures = {
        "basr": basr(clean, attacked),
        "rasr": rasr(clean, attacked),
        "msi": msi(clean, attacked),
        "art_edits": art(steps, course, _ART_TOLERANCE),
    }
    document = {
        "subject": subject.name,
        "aspect": subject.aspect,
        "budget": budget,
        "num_images": len(found),
        "measures": measures,
        "rasr_by_edits": [[int(step), rate] for step, rate in zip(steps, course, strict=True)],
        "filters": filters,
        "wants": wants,
        "sentence": _sentence(subject, budget, measures, filters, wants),
        "images": [
            {
                "name": name,
                "clean": one.clean,
                "attacked": one.attacked,
                "edit": one.edit.words,
                "filters": [step.direction.filter for step in one.edit.steps],
                "strengths": [step.strength for step in one.edit.steps],
                "change": one.edit.change,
            }
            for name, one in attacks
        ],
        "refused": refused,
        "edits_scored": sum(len(one.course) - 1 for one in found),
    }
    return SubjectReport(document, attacks)


def _of_filter(name: str, found: Sequence[Attack]) -> dict[str, Any]:
    """How far this filter alone raises scores: mean rise (0 where it lowers), RASR, and in which direction mostly."""
    rises = [max(rise, 0.0) if np.isfinite(rise := one.best_by_filter[name] - one.clean) else 0.0 for one in found]
    words = Counter(
        one.words_by_filter[name]
        for one, rise in zip(found, rises, strict=True)
        if name in one.words_by_filter and rise
    )
    return {
        "mean_rise": float(np.mean(rises)),
        "rasr": 100.0 * float(np.mean(np.array(rises) > 0.0)),
        "direction": min(words, key=lambda one: (-words[one], one)) if words else None,
        "share_of_direction": max(words.values()) / sum(words.values()) if words else None,
    }


def _wants(filters: dict[str, dict[str, Any]]) -> str | None:
    """The filter with the largest mean rise; of filters that are about equal, the simplest."""
    highest = max(one["mean_rise"] for one in filters.values())
    if highest <= 0.0:
        return None
    return next(name for name in FILTERS if filters[name]["mean_rise"] >= (1.0 - _ALIKE) * highest)


def _sentence(
    subject: Subject, budget: float, measures: dict[str, Any], filters: dict[str, dict[str, Any]], wants: str | None
) -> str:
    """What was found, for a person who knows no measure."""
    if wants is None:
        return f"No ordinary filter raises the scores of {subject.name} within a change of {budget:g} per pixel."
    one = filters[wants]
    how = f"{one['direction']} ({one['share_of_direction']:.0%} of the images it works on)"
    fooled = "can be fooled by" if measures["msi"] >= _SMALL_RISE else "hardly moves, most of all with"
    return (
        f"The {subject.aspect} score of {subject.name} {fooled} {wants}: {how} alone raises {one['rasr']:.0f} % of the "
        f"scores, by {one['mean_rise']:.2f} points on average; the best edits raise them by {measures['msi']:.2f}."
    )


def _course(found: Sequence[Attack]) -> tuple[list[int], list[float]]:
    """RASR after 0, 1, 2, ... edits of each image were scored; an image with fewer edits keeps its last score."""
    longest = max(len(one.course) for one in found)
    risen_NT = np.zeros((len(found), longest), bool)
    for n, one in enumerate(found):
        course = np.array(one.course)
        risen_NT[n, : len(course)] = course > one.clean
        risen_NT[n, len(course) :] = course[-1] > one.clean
    return list(range(longest)), (100.0 * risen_NT.mean(0)).tolist()
