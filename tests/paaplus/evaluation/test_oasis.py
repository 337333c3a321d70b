"""Required quality on real people's ratings, if `PAAPLUS_TEST_OASIS=DIR` names a data folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from paaplus.data.features import folder_features
from paaplus.data.folder import read_folder
from paaplus.evaluation.kshot.config import KShotConfig
from paaplus.evaluation.kshot.run import run_kshot
from paaplus.evaluation.matching.config import MatchingConfig
from paaplus.evaluation.matching.run import run_matching
from paaplus.evaluation.splits import MakeSplit, load_split, split_folder
from paaplus.evaluation.train_side import EvaluationData
from paaplus.models.base_models import load_extractor

OASIS = os.environ.get("PAAPLUS_TEST_OASIS", "")
SPLIT = Path(os.environ.get("PAAPLUS_TEST_SHARED", "")) / "tools" / "oasis_split.py"

# SRCC per person after k ratings. What is required is the mean over seeds 0-2 of the split that reported numbers use:
# .512, .530, .545, .558, .572. It is .523, .537, .552, .566, .579 by `paaplus evaluate kshot`. A seed costs 20 s of a
# core, so one is run here, whose own numbers are .536, .549, .564, .577, .590. Its margins are those of the mean.
SEEDS = (1,) if SPLIT.is_file() else (0, 1, 2)  # of other splits no single seed has been looked at
REQUIRED = {0: 0.5255, 10: 0.542, 25: 0.557, 50: 0.569, 100: 0.582}


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not OASIS, reason="PAAPLUS_TEST_OASIS names no data folder of real ratings"),
]


@dataclass(frozen=True)
class Oasis:
    """The data, with features that are extracted once for all tests."""

    data: EvaluationData
    make_split: MakeSplit


@pytest.fixture(scope="module")
def oasis(features_cache: Path) -> Oasis:
    folder, extractor = read_folder(Path(OASIS)), load_extractor("lite2")
    features_ID = folder_features(folder, extractor, features_cache)
    make_split = load_split(SPLIT, Path(OASIS)) if SPLIT.is_file() else lambda seed: split_folder(folder, seed)
    return Oasis(EvaluationData(folder, features_ID, extractor.digest, extractor.blocks), make_split)


def test_personal_scores_are_as_good_as_promised_on_real_people(oasis: Oasis) -> None:
    document = run_kshot(oasis.data, oasis.make_split, KShotConfig(ks=tuple(REQUIRED), seeds=SEEDS))
    summary = {entry["k"]: entry for entry in document["summary"]}
    if SPLIT.is_file():
        assert {k: summary[k]["personal"] for k in REQUIRED if summary[k]["personal"] < REQUIRED[k]} == {}
    assert summary[10]["gain_low"] > 0
    assert summary[100]["gain"] > 0.04
    assert summary[100]["share_improved"] > 0.75
    for k in (10, 100):
        covered = summary[k]["coverage"]
        assert covered == {"50%": pytest.approx(0.5, abs=0.03), "80%": pytest.approx(0.8, abs=0.03),
                           "95%": pytest.approx(0.95, abs=0.03)}  # fmt: skip


def test_matching_new_users_with_experts_gains_what_is_promised_on_real_people(oasis: Oasis) -> None:
    """On the first 40 test people of one seed; all of three seeds are in benchmarks/results."""
    config = MatchingConfig(pairs=(0, 12), ks=(10,), num_experts=(), seeds=SEEDS[:2], limit_people=40)
    document = run_matching(oasis.data, oasis.make_split, config)
    for state in document["summary"]:  # never below generic on average, beyond what chance does to so few people
        assert state["combination"]["ahead"]["mean"] > -0.002, state["state"]
        assert state["selected"]["ahead"]["mean"] > -0.002, state["state"]
        assert state["best_expert"]["srcc"] < state["combination"]["srcc"]
    quiz = document["quiz"]
    assert quiz["12 pairs before 0 ratings"]["low"] > 0
    assert quiz["12 pairs before 0 ratings"]["mean"] > 0.01
    assert quiz["12 pairs before 10 ratings"]["low"] > 0
