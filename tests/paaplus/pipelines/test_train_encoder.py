"""Preference encoders from a data folder and a table of answers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.models.base_fit import fit_base_scorer
from paaplus.pipelines.train_encoder import encoder_from_folder, read_answers
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services.surveys import forms
from tests.support.taste_data import PixelExtractor, Simulated, simulate, write_folder

FORM = forms.parse(
    {"title": "t", "items": [{"id": "a", "kind": "scale", "text": "?", "min": -99, "max": 99, "whole": False},
                             {"id": "b", "kind": "scale", "text": "?", "min": 0, "max": 9, "optional": True}]}
)  # fmt: skip


@pytest.fixture(scope="module")
def people() -> Simulated:
    return simulate(num_people=70, num_images=100)


@pytest.fixture(scope="module")
def data(people: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("encoder") / "data", people)


@pytest.fixture(scope="module")
def base(people: Simulated) -> BaseScorer:
    extractor = PixelExtractor(12)
    scorer, _ = fit_base_scorer("m", extractor.digest, people.features_ID, people.ratings, blocks=extractor.blocks)
    return scorer


def write(file: Path, answers: dict[str, float]) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("user_id", "a"), *answers.items()])
    return file


def liking(people: Simulated) -> dict[str, float]:
    """Each simulated person's weight on the direction in which tastes differ."""
    x_I = people.features_ID[:, 1].astype(np.float64)
    return {f"u{u:02d}": round(float(np.polyfit(x_I, score_I, 1)[0]), 3) for u, score_I in enumerate(people.score_UI)}


def learn(base: BaseScorer, data: Path, survey_csv: Path, cache: Path, **options: object):
    return encoder_from_folder(base, PixelExtractor(12), data, survey_csv, FORM, cache_dir=cache, **options)


def test_encoder_is_fitted_to_a_table_of_answers(
    people: Simulated, data: Path, base: BaseScorer, tmp_path: Path
) -> None:
    answers = liking(people) | {"stranger": 3.0}
    encoder, metrics = learn(base, data, write(tmp_path / "a.csv", answers), tmp_path)
    assert (metrics["num_people"], encoder.columns, encoder.fits(base)) == (70, ("a", "b"), True)
    assert metrics["taste"]["gain_low"] > 0
    rng = np.random.default_rng(0)
    shuffled = dict(zip(answers, rng.permutation(list(answers.values())).tolist(), strict=True))
    assert not learn(base, data, write(tmp_path / "b.csv", shuffled), tmp_path)[0].is_informative


def test_files_that_do_not_fit_are_refused(people: Simulated, data: Path, base: BaseScorer, tmp_path: Path) -> None:
    few = dict(list(liking(people).items())[:49])
    with pytest.raises(InvalidInput, match="49 people"):
        learn(base, data, write(tmp_path / "few.csv", few), tmp_path)
    other = PixelExtractor(12)
    other.digest = "0" * 64
    with pytest.raises(InvalidInput, match="extractor"):
        encoder_from_folder(base, other, data, write(tmp_path / "a.csv", few), FORM, cache_dir=tmp_path)
    with pytest.raises(InvalidInput, match="rates"):
        learn(base, data, tmp_path / "a.csv", tmp_path, aspect="health")
    pair = {"id": "p", "kind": "image_pair", "text": "?", "first": "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001",
            "second": "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0002", "aspect": "beauty"}  # fmt: skip
    with pytest.raises(InvalidInput, match="needs its users"):
        encoder_from_folder(
            base,
            PixelExtractor(12),
            data,
            tmp_path / "a.csv",
            forms.parse({"title": "t", "items": [pair]}),
            cache_dir=tmp_path,
        )


def test_lines_are_read_with_their_numbers_and_blanks_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("user_id,a,b,other\nann,1.5,,x\nben,,4,\n", encoding="utf-8-sig")
    lines = list(read_answers(file, FORM))
    assert [(line.line, line.user_id, line.answers) for line in lines] == [(2, "ann", {"a": 1.5}), (3, "ben", {"b": 4})]
    file.write_bytes(b"user_id,a\nann,\xff\n")
    with pytest.raises(InvalidInput, match=r"a\.csv, line 2: not UTF-8"):
        list(read_answers(file, FORM))
