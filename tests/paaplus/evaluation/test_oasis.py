"""Promised quality on real people's ratings, where they are there: `PAAPLUS_TEST_OASIS=DIR`, a data folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paaplus.data.features import folder_features
from paaplus.data.folder import read_folder
from paaplus.evaluation.kshot import KShotConfig, run_kshot
from paaplus.evaluation.splits import split_folder
from paaplus.models.base_models import load_extractor

OASIS = os.environ.get("PAAPLUS_TEST_OASIS", "")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not OASIS, reason="PAAPLUS_TEST_OASIS names no data folder of real ratings")
def test_personal_scores_gain_what_is_promised_on_real_people(tmp_path):
    folder = read_folder(Path(OASIS))
    extractor = load_extractor("lite")
    features_ID = folder_features(folder, extractor, tmp_path)
    document = run_kshot(
        folder,
        features_ID,
        extractor.digest,
        lambda seed: split_folder(folder, seed),
        KShotConfig(ks=(0, 10, 100), seeds=(0, 1)),
    )
    at_0, at_10, at_100 = document["summary"]
    assert at_0["generic"] > 0.45
    assert at_10["gain_low"] > 0
    assert at_100["gain"] > 0.035
    assert at_100["share_improved"] > 0.7
