"""Run a protocol of the field on a data folder: SRCC per person after k ratings, mean over people, over draws.

The base model is fitted on everybody but the test people. In every draw and for every test person, the first k of the
person's images in a random order train the closed form; SRCC is measured on the others (or on `num_test` of them), for
the personal and for the generic score. Gain is the difference of the two: it can be compared across backbones.

Shape letters: U = test people, S = draws, K = shots, I = images, N = ratings, T = rated test images.
"""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput, UndefinedMetric
from paaplus.evaluation.agreement import mean_srcc
from paaplus.evaluation.bands import Bands
from paaplus.evaluation.closed_form import learned
from paaplus.evaluation.intervals import mean_with_interval
from paaplus.evaluation.piaa.division import Division, divide, joined, joined_folders, test_images_of
from paaplus.evaluation.piaa.protocols import Protocol
from paaplus.evaluation.splits import FolderSplit
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.metrics import plcc, srcc
from paaplus.models.base_fit import SmallDataWarning

OF_A_PERSON, OF_MEANS = "a person's ratings", "mean ratings"
_LEAST_TEST = 5


def run_piaa(
    dataset: str,
    data: EvaluationData,
    protocol: Protocol,
    seed: int = 0,
    train: EvaluationData | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Measure one protocol.

    Args:
        dataset: name of the data set, to find published rows.
        data: the data folder with features.
        protocol: the protocol.
        seed: of people and draws.
        train: another data folder for the base model; needed where the protocol says so.
        progress: called with the number of people done and the total.

    Returns:
        A document, ready for JSON: `ours` (per number of ratings), `published`, `bands` and `config`.

    Raises:
        InvalidInput: nobody is eligible, no other folder where one is needed, or SRCC is undefined for everybody.
    """
    if protocol.elsewhere and train is None:
        raise InvalidInput(f"protocol {protocol.name}: the base model is fitted on another data set: --train DIR")
    own = data.folder.people
    division = check_division(data.folder, train.folder if train is not None else None, protocol, seed)
    if train is not None:
        data = joined(data, train)
    side = TrainSide("piaa", data, division.split)
    bands = Bands(data.folder)
    people = [user_id for user_id in division.split.test_people if user_id in own]
    personal_USK = np.full((len(people), protocol.draws, len(protocol.shots)), np.nan)
    generic_USK = personal_USK.copy()
    for u, user_id in enumerate(people):
        progress(u, len(people))
        for s in range(protocol.draws):
            _measure(side, division, protocol, bands, user_id, [seed, s], personal_USK[u, s], generic_USK[u, s])
    progress(len(people), len(people))
    if not np.isfinite(personal_USK).any():
        raise InvalidInput(f"SRCC is undefined for all {len(people)} test people")
    return {
        "ours": [_entry(protocol, personal_USK, generic_USK, j) for j in range(len(protocol.shots))],
        "published": published_rows(dataset, OF_A_PERSON),
        "bands": bands.summary(),
        "config": {
            **data.config_entries(),
            "dataset": dataset,
            "protocol": {**asdict(protocol), "shots": list(protocol.shots)},
            "seed": seed,
            "num_train_people": len(division.split.train_people),
            "num_train_images": len(division.split.train_images),
            "num_people": len(people),
            "people_listed": division.listed,
            "base_model": side.base_metrics,
        },
    }


def check_division(folder: DataFolder, train: DataFolder | None, protocol: Protocol, seed: int) -> Division:
    """The division that a protocol makes of a folder, by its ratings alone: before features are computed.

    Args:
        folder: the data.
        train: another data folder for the base model.
        protocol: the protocol.
        seed: of people and images.

    Raises:
        InvalidInput: nobody is eligible, or nothing is left to train on.
    """
    if train is None:
        return divide(folder, protocol, seed)
    return divide(joined_folders(folder, train), protocol, seed, _all_eligible(folder, protocol))


def run_generic(dataset: str, data: EvaluationData, protocol: Protocol, seed: int = 0) -> dict[str, Any]:
    """SRCC and PLCC of the generic score with mean ratings on the release's test images, of the first aspect.

    Raises:
        InvalidInput: too few images.
    """
    folder = data.folder
    test_I = test_images_of(folder, seed, 0.2)
    test_images = frozenset(np.array(folder.images)[test_I].tolist())
    split = FolderSplit(seed, folder.people, (), frozenset(folder.images) - test_images, test_images, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallDataWarning)  # one user is what these data sets have
        side = TrainSide("piaa", data, split, people_prior=False)
    mean_I = _mean_ratings(folder)
    test = np.flatnonzero(test_I & ~np.isnan(mean_I))
    score_T, truth_T = side.generic_IA[test, 0], mean_I[test]
    bands = Bands(folder)
    bands.add("generic", "everybody", score_T[:, None], truth_T[:, None], test)
    try:
        agreement = {"srcc": srcc(score_T, truth_T), "plcc": plcc(score_T, truth_T)}
    except UndefinedMetric as error:
        raise InvalidInput(f"{folder.path}: {error}") from error
    return {
        "ours": [{"k": 0, "num_people": len(folder.people), **agreement}],
        "published": published_rows(dataset, OF_MEANS),
        "bands": bands.summary(),
        "config": {
            **data.config_entries(),
            "dataset": dataset,
            "protocol": {**asdict(protocol), "shots": []},
            "seed": seed,
            "num_train_images": int((~test_I).sum()),
            "num_test_images": len(test),
        },
    }


def published_rows(dataset: str, measured_on: str) -> list[dict[str, Any]]:
    """Published results on a data set, with source, year and notes.

    Args:
        dataset: name of the data set.
        measured_on: `OF_A_PERSON`: agreement with one person's ratings. `OF_MEANS`: with mean ratings.
    """
    text = files("paaplus.evaluation.piaa").joinpath("published.json").read_text(encoding="utf-8")
    return [row for row in json.loads(text)["rows"] if (row["dataset"], row["measured_on"]) == (dataset, measured_on)]


def _mean_ratings(folder: DataFolder) -> np.ndarray:
    """Mean over people of each image's ratings (0-10) of the first aspect, shape (I,); NaN where there are none."""
    rating_N = folder.score_NA[:, 0]
    rated_N = ~np.isnan(rating_N)
    num_I = np.bincount(folder.image_N[rated_N], minlength=len(folder.images))
    sum_I = np.bincount(folder.image_N[rated_N], weights=rating_N[rated_N], minlength=len(folder.images))
    return np.divide(sum_I, num_I, out=np.full(len(num_I), np.nan), where=num_I > 0)


def _all_eligible(folder: DataFolder, protocol: Protocol) -> list[str]:
    """Everybody of a folder who rated enough; with --train, all of them are tested."""
    counts = np.bincount(folder.person_N, minlength=len(folder.people))
    least = min(protocol.shots) + _LEAST_TEST
    people = [one for one, count in zip(folder.people, counts.tolist(), strict=True) if count >= least]
    if not people:
        raise InvalidInput(f"{folder.path}: nobody rated {least} images")
    return people


def _measure(
    side: TrainSide,
    division: Division,
    protocol: Protocol,
    bands: Bands,
    user_id: str,
    draw: list[int],
    personal_K: np.ndarray,
    generic_K: np.ndarray,
) -> None:
    """One person in one draw: fills SRCC of the personal and of the generic score, by number of ratings."""
    images = division.rated[user_id]
    order = np.random.default_rng([*draw, zlib.crc32(user_id.encode())]).permutation(images)
    for j, k in enumerate(protocol.shots):
        test = order[k:] if protocol.num_test is None else order[max(k, len(order) - protocol.num_test) :]
        if len(test) < _LEAST_TEST:
            continue
        rated = side.rated(user_id, order[:k])
        adapter = learned(side.base, rated)
        target_NA, generic_NA = side.targets(user_id, test), side.generic_IA[test]
        score_NA = adapter.score(side.taste_IR[test], generic_NA)
        both = mean_srcc(score_NA, target_NA), mean_srcc(generic_NA, target_NA)
        if not np.isfinite(both).all():
            continue  # constant ratings: no rank correlation
        personal_K[j], generic_K[j] = both
        bands.add(f"{k} ratings", user_id, score_NA, target_NA, test)
        bands.add(f"generic, beside {k} ratings", user_id, generic_NA, target_NA, test)


def _entry(protocol: Protocol, personal_USK: np.ndarray, generic_USK: np.ndarray, j: int) -> dict[str, Any]:
    """The row of one number of ratings: mean over people, then mean and deviation over draws."""
    personal_US, generic_US = personal_USK[:, :, j], generic_USK[:, :, j]
    kept_U = np.isfinite(personal_US).any(axis=1)
    entry: dict[str, Any] = {"k": protocol.shots[j], "num_people": int(kept_U.sum())}
    if not kept_U.any():
        return {**entry, "srcc": None, "srcc_sd": None, "generic": None, "gain": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw in which nobody's is defined
        draw_S = np.nanmean(personal_US[kept_U], axis=0)
    gains = [(row[np.isfinite(row)]).tolist() for row in (personal_US - generic_US)[kept_U]]
    return {
        **entry,
        "srcc": float(np.nanmean(draw_S)),
        "srcc_sd": float(np.nanstd(draw_S)),
        "generic": float(np.nanmean(generic_US[kept_U])),
        "gain": mean_with_interval(gains),
    }
