"""The label that an expert is shown: the pseudo labels of some tools, calibrated by their revisions and combined.

Shape letters: T = tools.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session

from paaplus.db.tables import PseudoLabelRow, ToolRevisionRow
from paaplus.scoring.revision import Revision
from paaplus.scoring.reward import label_error_sd, probability_corrected
from paaplus.services.predictions.serving import ProjectedImage
from paaplus.services.reviews import pseudo_labels, tool_revisions

_LEAST_WEIGHT = 0.05  # of a tool with zero confidence


@dataclass(frozen=True)
class RevisionsInForce:
    """Tool revisions in force, by tool and tool version."""

    rows: Mapping[tuple[str, str], ToolRevisionRow]
    revisions: Mapping[tuple[str, str], Revision]


@dataclass(frozen=True)
class CombinedLabel:
    """One image's combined label by aspect, with the tools' labels that it was made of. A review stores `to_json`."""

    scores: dict[str, float]
    confidences: dict[str, float]
    spreads: dict[str, float]  # standard deviation of the tools' calibrated labels
    tools: dict[str, dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return {
            "scores": self.scores,
            "confidences": self.confidences,
            "spreads": self.spreads,
            "tools": self.tools,
        }


def read_labels(
    session: Session, application: str, image_ids: Collection[UUID], tools: Collection[str]
) -> tuple[dict[UUID, dict[str, PseudoLabelRow]], RevisionsInForce]:
    """The tools' newest labels of these images, by image and tool, and the revisions in force for them."""
    labels = pseudo_labels.newest(session, image_ids, tools)
    versions = {(row.tool, row.tool_version) for by_tool in labels.values() for row in by_tool.values()}
    found = {key: tool_revisions.in_force(session, application, *key) for key in versions}
    rows = {key: row for key, row in found.items() if row is not None}
    return labels, RevisionsInForce(rows, {key: tool_revisions.load(row) for key, row in rows.items()})


def combine(
    labels: Mapping[str, PseudoLabelRow],
    aspects: Collection[str],
    in_force: RevisionsInForce,
    image: ProjectedImage | None,
    base_digest: str | None,
) -> CombinedLabel:
    """Calibrate the tools' labels of one image, and average them with their confidences as weights.

    Args:
        labels: the image's labels, by tool.
        aspects: those of the base model; other aspects are left out.
        in_force: the tools' revisions.
        image: the projected image; None: it has no features, so no reward head is applied.
        base_digest: of the base model that projected the image; a reward head for another one is not applied.
    """
    by_aspect: dict[str, list[tuple[float, float]]] = {}
    details: dict[str, dict[str, Any]] = {}
    for tool, row in sorted(labels.items()):
        key = (row.tool, row.tool_version)
        revision = in_force.revisions.get(key)
        calibrated = {}
        for aspect in sorted(row.scores.keys() & set(aspects)):
            score = float(row.scores[aspect])
            if revision is not None:
                score = revision.calibrated(aspect, score)
                if image is not None and revision.head is not None and revision.head.base_digest == base_digest:
                    score = revision.moved(aspect, score, image.taste_R, image.generic_A)
            calibrated[aspect] = score
            by_aspect.setdefault(aspect, []).append((score, float(row.confidences[aspect])))
        details[tool] = {
            "version": row.tool_version,
            "revision": in_force.rows[key].version if key in in_force.rows else None,
            "raw": {aspect: row.scores[aspect] for aspect in calibrated},
            "calibrated": calibrated,
            "confidences": {aspect: row.confidences[aspect] for aspect in calibrated},
        }
    scores, confidences, spreads = {}, {}, {}
    for aspect, scored in by_aspect.items():
        score_T, confidence_T = np.array(scored).T
        weight_T = np.maximum(confidence_T, _LEAST_WEIGHT)
        weight_T = weight_T / weight_T.sum()
        scores[aspect] = float(weight_T @ score_T)
        confidences[aspect] = float(weight_T @ confidence_T)
        spreads[aspect] = float(np.sqrt(weight_T @ np.square(score_T - scores[aspect])))
    return CombinedLabel(scores, confidences, spreads, details)


def expected_value(shown: Mapping[str, Any], target: Mapping[str, float], expert_sd: Mapping[str, float]) -> float:
    """The value of a review, 0-1: the probability that an expert corrects the shown label, largest over aspects.

    The label's error is assumed to be normal.

    Args:
        shown: the label that the review shows, as `CombinedLabel.to_json` gives it.
        target: the label as it would be now, by aspect: the mean of the distribution, if a tool has learned since.
        expert_sd: standard deviation of experts' scores of this image, by aspect.
    """
    values = []
    for aspect, score in shown["scores"].items():
        sd = label_error_sd(shown["confidences"][aspect], shown["spreads"][aspect], expert_sd.get(aspect, 0.0))
        values.append(probability_corrected(target.get(aspect, score) - score, sd))
    return max(values, default=0.0)
