"""What experts are shown of an image: the labels of some tools, calibrated by what was learned, and combined.

Everything here is of one application and one moment; a review keeps what it showed.
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

_LEAST_WEIGHT = 0.05  # of a tool that says that it knows nothing


@dataclass(frozen=True)
class InForce:
    """Revisions in force, by tool and tool version."""

    rows: Mapping[tuple[str, str], ToolRevisionRow]
    revisions: Mapping[tuple[str, str], Revision]


@dataclass(frozen=True)
class Shown:
    """One image's combined label, by aspect, with what it was made of. `to_json` is what a review keeps."""

    scores: dict[str, float]
    confidences: dict[str, float]
    spreads: dict[str, float]  # sd of the tools' calibrated labels
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
) -> tuple[dict[UUID, dict[str, PseudoLabelRow]], InForce]:
    """The tools' newest labels of these images, and the revisions in force for them."""
    labels = pseudo_labels.newest(session, image_ids, tools)
    versions = {(row.tool, row.tool_version) for by_tool in labels.values() for row in by_tool.values()}
    found = {key: tool_revisions.in_force(session, application, *key) for key in versions}
    rows = {key: row for key, row in found.items() if row is not None}
    return labels, InForce(rows, {key: tool_revisions.load(row) for key, row in rows.items()})


def combine(
    labels: Mapping[str, PseudoLabelRow],
    aspects: Collection[str],
    in_force: InForce,
    image: ProjectedImage | None,
    base_digest: str | None,
) -> Shown:
    """Every aspect's label: the tools' own, calibrated and moved, weighed by their confidence.

    Args:
        labels: the image's, by tool.
        aspects: of the base model; others are not shown.
        in_force: what was learned.
        image: as scoring sees it; None: no features yet, and no reward head has a word.
        base_digest: of the base model that projected it; a head learned on another one has no word either.
    """
    by_aspect: dict[str, list[tuple[float, float]]] = {}
    told: dict[str, dict[str, Any]] = {}
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
        told[tool] = {
            "version": row.tool_version,
            "revision": in_force.rows[key].version if key in in_force.rows else None,
            "raw": {aspect: row.scores[aspect] for aspect in calibrated},
            "calibrated": calibrated,
            "confidences": {aspect: row.confidences[aspect] for aspect in calibrated},
        }
    scores, confidences, spreads = {}, {}, {}
    for aspect, said in by_aspect.items():
        score_T, confidence_T = np.array(said).T
        weight_T = np.maximum(confidence_T, _LEAST_WEIGHT)
        weight_T = weight_T / weight_T.sum()
        scores[aspect] = float(weight_T @ score_T)
        confidences[aspect] = float(weight_T @ confidence_T)
        spreads[aspect] = float(np.sqrt(weight_T @ np.square(score_T - scores[aspect])))
    return Shown(scores, confidences, spreads, told)


def expected_value(shown: Mapping[str, Any], target: Mapping[str, float], expert_sd: Mapping[str, float]) -> float:
    """How likely an expert corrects the label of some aspect: what a review of the image is worth, 0-1.

    The error of a label is taken as normal: its sd from the label's confidence, the tools' spread and how far experts
    were apart on this image; around what would be shown now, where something was learned since (`target`).
    """
    values = []
    for aspect, score in shown["scores"].items():
        sd = label_error_sd(shown["confidences"][aspect], shown["spreads"][aspect], expert_sd.get(aspect, 0.0))
        values.append(probability_corrected(target.get(aspect, score) - score, sd))
    return max(values, default=0.0)
