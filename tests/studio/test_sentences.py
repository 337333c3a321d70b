"""The gate's sentences and those of errors in Chinese: each has a text, with the values of the English one."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from paaplus.gate import wording
from paaplus.gate.robustness import robustness_checks
from paaplus.gate.verdict import FeedbackVerdict
from paaplus.studio import sentences

LATIN = re.compile(r"[A-Za-z]{2,}")
NUMBERS = re.compile(r"\d+(?:\.\d+)?")


def all_of_the_gate() -> list[str]:
    made = [
        wording.loss_not_tested(1, 5), wording.loss_not_tested(0, 5),
        wording.loss(12, 0.41, 0.05, 0.93, 0.8), wording.loss(1, -0.41, 0.05, 0.03, 0.8),
        wording.comparisons_not_tested(3, 5),
        wording.comparisons(8, 0.1, (0.75, 0.5), 0.02, 0.9, 0.8),
        wording.comparisons(8, -0.1, (None, None), 0.02, 0.9, 0.8),
        wording.comparisons(8, -0.1, (0.75, 0.5), 0.02, 0.9, 0.8),
        wording.comparisons(1, 0.1, (None, 0.5), 0.02, 0.9, 0.8),
        wording.sound_scores(0, 40), wording.sound_scores(3, 40),
        wording.forgetting(9, 0.2, 0.1, 0.5, 0.8), wording.forgetting(9, -0.2, 0.1, 0.5, 0.8),
        wording.forgetting_not_tested(1, 5),
    ]  # fmt: skip
    for check in ("negative_flips", "generic"):
        made += [wording.flips(check, share, 0.03, 0.7, 0.8) for share in (0.021, -0.021)]
        made.append(wording.flips_not_tested(check, 2, 5))
    for parent, candidate in (((10.0, 0.2), (12.5, 0.1)), ((12.5, 0.1), (10.0, 0.2))):
        made += [each.detail for each in robustness_checks(parent, candidate)]
    return made


@pytest.mark.parametrize("sentence", all_of_the_gate())
def test_every_sentence_of_the_gate_has_a_chinese_text_with_its_numbers(sentence: str) -> None:
    told = sentences.of_gate(sentence, "zh")
    assert LATIN.findall(told) == []
    assert sorted(NUMBERS.findall(told)) == sorted(NUMBERS.findall(sentence))
    assert sentences.of_gate(sentence, "en") == sentence


@pytest.mark.parametrize("num_in_window", [1, 12])
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("score", [-9.0, 0.5, 4.0, 30.0])
def test_verdicts_on_the_feedback_are_told_too(num_in_window: int, alike: bool, turned: bool, score: float) -> None:
    for verdict in verdicts(num_in_window, alike, turned, score):
        for sentence in (
            wording.order(verdict, 1.6),
            wording.quarantined(verdict, 3),
            wording.retired(verdict),
            wording.reason(False, [wording.order(verdict, 0.0)], [wording.sound_scores(0, 4)]),
        ):
            assert LATIN.findall(sentences.of_gate(sentence, "zh")) == [], sentence


def verdicts(num_in_window: int, alike: bool, turned: bool, score: float) -> list[FeedbackVerdict]:
    return [
        FeedbackVerdict(num_answers, num_in_window, 2, last, score, 1.6, turned, num_alike)
        for num_answers in (num_in_window, num_in_window + 5)
        for num_alike in ((num_in_window, num_answers) if alike else (0,))
        for last in (None, 30)
    ]


def test_what_a_person_wrote_stays_as_it_is() -> None:
    assert sentences.of_gate("Refused. I did not like it", "zh") == "Refused. I did not like it"
    assert sentences.of_error("anything else", "zh") is None


def test_texts_of_errors_have_the_places_of_the_english_ones() -> None:
    file = files("paaplus.studio").joinpath("sentences_of", "zh.json")
    for kind, pairs in json.loads(file.read_text("utf-8")).items():
        for english, chinese in pairs.items():
            places = set(re.findall(r"\{(\w+)\}", english))
            assert set(re.findall(r"\{(\w+)\}", chinese)) <= places, (kind, english)
    told = sentences.of_error("the picture is 3 x 4 px; each side needs at least 16", "zh")
    assert told == "图片为 3 x 4 像素，每边至少需要 16 像素"
