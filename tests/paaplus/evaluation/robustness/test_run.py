"""The robustness study on planted scorers: which filter is named, budgets, refusals, and the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.evaluation.robustness.report import document_of, filter_table, table, write_report
from paaplus.evaluation.robustness.run import NamedImage, Subject, run_robustness
from paaplus.evaluation.robustness.scorers import tool_scorer
from paaplus.evaluation.robustness.search import MAX_SIDE_PX, Scorer
from paaplus.gate.robustness import RobustnessLimits, robustness_checks
from paaplus.tools.registry import ToolContext, build


def photograph(seed: int, side: int = 24) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(20, 220, (6, 6, 3), np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


IMAGES = [NamedImage(f"image{seed}.png", photograph(seed)) for seed in range(4)]


def scorer(of_pixels) -> Scorer:  # type: ignore[no-untyped-def]
    def score(images: Sequence[Image.Image]) -> np.ndarray:
        return np.array([of_pixels(np.asarray(one, np.float64) / 255.0) for one in images])

    return score


def subject(of_pixels) -> Subject:  # type: ignore[no-untyped-def]
    return Subject("planted", "beauty", scorer(of_pixels))


BRIGHT = subject(lambda pixels: 10.0 * pixels.mean())


def test_mean_brightness_wants_brightness() -> None:
    document = run_robustness(BRIGHT, IMAGES).document
    assert document["wants"] == "brightness"
    assert document["filters"]["brightness"]["direction"] == "brighter"
    assert "can be fooled by brightness: brighter" in document["sentence"]
    assert document["measures"]["rasr"] == 100.0
    # at most the budget on average, of ten points
    assert 0.4 < document["measures"]["msi"] <= 0.5 + 0.03
    assert all(one["change"] <= 0.05 for one in document["images"])


def test_other_planted_tastes_are_named() -> None:
    colour = subject(lambda pixels: 10.0 * (pixels.max(2) - pixels.min(2)).mean())
    assert run_robustness(colour, IMAGES).document["wants"] == "saturation"
    edges = subject(lambda pixels: 10.0 - 40.0 * np.abs(np.diff(pixels, axis=0)).mean())
    assert run_robustness(edges, IMAGES, 0.01).document["filters"]["blur"]["rasr"] == 100.0
    dark = run_robustness(subject(lambda pixels: 10.0 - 10.0 * pixels.mean()), IMAGES).document
    assert dark["filters"][dark["wants"]]["direction"] == "darker"


def test_nothing_within_a_budget_of_0() -> None:
    document = run_robustness(BRIGHT, IMAGES, 0.0).document
    assert document["wants"] is None
    assert document["measures"] == {"basr": 0.0, "rasr": 0.0, "msi": 0.0, "art_edits": 0.0}
    assert document["edits_scored"] == 0
    assert "No ordinary filter" in document["sentence"]


def test_a_constant_model_is_not_fooled_and_basr_without_low_scores_is_undefined() -> None:
    constant = run_robustness(subject(lambda pixels: 4.0), IMAGES).document
    assert (constant["measures"]["rasr"], constant["measures"]["msi"], constant["measures"]["basr"]) == (0.0, 0.0, 0.0)
    high = run_robustness(subject(lambda pixels: 7.0 + pixels.mean()), IMAGES).document
    assert high["measures"]["basr"] is None
    assert "undefined" in table({"subjects": [high]})[0]


def test_a_larger_budget_raises_more_and_pairs_beat_single_filters() -> None:
    restricted, unrestricted = (run_robustness(BRIGHT, IMAGES, budget).document for budget in (0.05, 0.15))
    assert unrestricted["measures"]["msi"] > restricted["measures"]["msi"]
    both = subject(lambda pixels: 5.0 * pixels.mean() + 10.0 * (pixels.max(2) - pixels.min(2)).mean())
    document = run_robustness(both, IMAGES, 0.15).document
    assert any(len(one["filters"]) == 2 for one in document["images"])
    alone = max(one["mean_rise"] for one in document["filters"].values())
    assert document["measures"]["msi"] > alone


def test_refused_images_are_counted_and_named() -> None:
    def score(images: Sequence[Image.Image]) -> np.ndarray:
        if np.asarray(images[0]).std() == 0.0:
            raise InvalidInput("a flat image")
        return scorer(lambda pixels: 10.0 * pixels.mean())(images)

    flat = NamedImage("flat.png", Image.new("RGB", (40, 40), "grey"))
    document = run_robustness(Subject("planted", "beauty", score), [*IMAGES[:2], flat]).document
    assert document["refused"] == {"flat.png": "a flat image"}
    assert document["num_images"] == 2
    with pytest.raises(InvalidInput, match="1 refused"):
        run_robustness(Subject("planted", "beauty", score), [flat])


def test_wrong_budgets_are_refused() -> None:
    for budget in (-0.1, 1.5, float("nan")):
        with pytest.raises(InvalidInput, match="budget"):
            run_robustness(BRIGHT, IMAGES, budget)


def test_the_same_report_every_time_with_thumbnails(tmp_path: Path) -> None:
    written = [write_report([run_robustness(BRIGHT, IMAGES[:2])], tmp_path / name) for name in ("a", "b")]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()
    page = written[0][2].read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    document = json.loads(written[0][0].read_text())
    assert filter_table(document)[0][1] == "brightness"


def test_large_images_are_made_smaller_first() -> None:
    report = run_robustness(BRIGHT, [NamedImage("large.png", photograph(1, 1000))], 0.0)
    assert max(report.attacks[0][1].before.size) == MAX_SIDE_PX


def test_tools_are_scorers() -> None:
    tool = build("colourfulness", ToolContext())
    document = run_robustness(Subject("colourfulness", tool.aspects[0], tool_scorer(tool, tool.aspects[0])), IMAGES)
    assert document.document["wants"] is not None
    with pytest.raises(InvalidInput, match="no aspect 'x'"):
        tool_scorer(tool, "x")


def test_gate_rule() -> None:
    passed = robustness_checks((50.0, 0.3), (55.0, 0.4))
    assert [check.passed for check in passed] == [True, True]
    refused = robustness_checks((50.0, 0.3), (70.0, 0.6), RobustnessLimits(10.0, 0.2))
    assert [check.passed for check in refused] == [False, False]
    assert "20.00 percentage points more than before (allowed: 10 more)" in refused[0].detail
    with pytest.raises(InvalidInput):
        RobustnessLimits(rasr=-1.0)


def test_document_holds_all_subjects() -> None:
    reports = [run_robustness(BRIGHT, IMAGES[:1]), run_robustness(subject(lambda pixels: 5.0), IMAGES[:1])]
    assert [one["subject"] for one in document_of(reports)["subjects"]] == ["planted", "planted"]
