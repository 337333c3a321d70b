"""Fit a base model's taste space, generic head and prior on features and ratings.

Shape letters: I = images, D = feature dim, N = ratings, R = taste space dim, A = aspects.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from paaplus.errors import InvalidInput, UndefinedMetric
from paaplus.metrics import srcc
from paaplus.models.extractor import FeatureBlock
from paaplus.models.generic_head import (
    NUM_FOLDS,
    Crowd,
    HeadChoice,
    assign_folds,
    choose_head,
    crowd_means,
    fit_head,
)
from paaplus.models.people_prior import PeoplePrior, Person, fit_people_prior
from paaplus.models.taste_space import fit_taste_spaces
from paaplus.scoring.adapters import MAX_NUMBERS
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.frame_heads import FrameHeads

MAX_TASTE_DIM = 256
_MIN_IMAGES = 4
_FEW_IMAGES, _FEW_PEOPLE = 100, 8
_FLOOR_SHARE = 1e-3  # of the mean prior variance; the floor in every direction, so that each can be learned


class SmallDataWarning(UserWarning):
    """The base model was fitted on so little data that its scores and priors are rough."""


@dataclass(frozen=True)
class Ratings:
    """Ratings, one row per person and image.

    Raises:
        InvalidInput: arrays of different lengths, infinite ratings, or an aspect without any rating.
    """

    aspects: tuple[str, ...]
    person_N: np.ndarray  # int: position of the person
    image_N: np.ndarray  # int: position of the image in the features
    score_NA: np.ndarray  # 0-10; NaN where an aspect was not rated

    def __post_init__(self) -> None:
        shape = (len(self.person_N), len(self.aspects))
        if len(self.image_N) != shape[0] or self.score_NA.shape != shape:
            raise InvalidInput(
                f"ratings of {shape[0]} people, {len(self.image_N)} images, scores {self.score_NA.shape}"
            )
        if np.isinf(self.score_NA).any():
            raise InvalidInput("ratings that are infinite")
        for a, aspect in enumerate(self.aspects):
            if np.isnan(self.score_NA[:, a]).all():
                raise InvalidInput(f"no rating of aspect {aspect!r}")


def fit_base_scorer(
    name: str,
    extractor_digest: str,
    features_ID: np.ndarray,
    ratings: Ratings,
    group_I: np.ndarray | None = None,
    seed: int = 0,
    blocks: Sequence[FeatureBlock] = (),
    people_prior: bool = True,
    heads: FrameHeads | None = None,
) -> tuple[BaseScorer, dict[str, Any]]:
    """Fit a base model on the features of images and people's ratings of them.

    Runs on one BLAS thread: more threads do not speed up many small matrices, and sums would depend on their number.

    Args:
        name: name of the base model.
        extractor_digest: digest of the extractor that computed the features.
        features_ID: features of every image; images without a rating take part in the fit of taste space.
        ratings: ratings of these images.
        group_I: scene of each image; cross-validation keeps a scene together. None: each image is a scene of its own.
        seed: of folds and samples.
        blocks: the blocks that the features consist of, as the extractor gives them; empty for a single block.
        people_prior: fit the directions in which people differ; False: all directions have the same variance.
        heads: heads of a network that scores the features. If they cover all rated aspects, their scores are the
            generic scores; the metric `generic_head` tells. The held-out metrics are always those of the linear head.

    Returns:
        The base model, and metrics of its held-out generic scores.

    Raises:
        InvalidInput: fewer than 4 rated images, all of one scene, or features that are not finite.

    Warns:
        SmallDataWarning: fewer than 100 images or 8 people, or 2 to 4 groups.
    """
    group_I = _checked_groups(features_ID, ratings, group_I)
    with threadpool_limits(limits=1, user_api="blas"):
        return _fit(name, extractor_digest, features_ID, ratings, group_I, seed, blocks, people_prior, heads)


def _fit(
    name: str,
    extractor_digest: str,
    features_ID: np.ndarray,
    ratings: Ratings,
    group_I: np.ndarray,
    seed: int,
    blocks: Sequence[FeatureBlock],
    people_prior: bool,
    heads: FrameHeads | None,
) -> tuple[BaseScorer, dict[str, Any]]:
    if heads is not None and not set(ratings.aspects) <= set(heads.aspects):
        heads = None
    taste_dim = min(MAX_TASTE_DIM, max(1, MAX_NUMBERS // len(ratings.aspects) - 2))
    if heads is not None:
        taste_dim = max(1, taste_dim - len(ratings.aspects))  # the heads' scores take one dimension per aspect
    crowd = crowd_means(ratings.person_N, ratings.image_N, ratings.score_NA, len(features_ID))
    choice = choose_head(features_ID, crowd, assign_folds(group_I, seed), taste_dim, blocks)
    (space,) = fit_taste_spaces(features_ID, (choice.width,), taste_dim, seed, blocks)
    taste_IR = space.project(features_ID)
    head_weight_RA, head_bias_A = fit_head(taste_IR, crowd, choice.ridge_A)
    priors = [
        fit_people_prior(_people(ratings, taste_IR, crowd, choice, aspect), seed, people_prior)
        for aspect in range(len(ratings.aspects))
    ]
    matrix_RR, prior_sd_A = _equal_variance_basis(taste_IR, priors)
    shaped = space.transformed(matrix_RR)
    scorer = BaseScorer(
        name=name,
        aspects=ratings.aspects,
        extractor_digest=extractor_digest,
        mean_D=shaped.mean_D.astype(np.float32),
        components_DP=shaped.components_DP.astype(np.float32),
        anchors_TP=shaped.anchors_TP.astype(np.float32),
        inverse_width=shaped.inverse_width,
        map_QR=shaped.map_QR.astype(np.float32),
        shift_R=shaped.shift_R.astype(np.float32),
        head_weight_RA=np.linalg.solve(matrix_RR, head_weight_RA).astype(np.float32),
        head_bias_A=head_bias_A.astype(np.float32),
        prior_sd_A=prior_sd_A.astype(np.float32),
        noise_sd_A=np.sqrt([p.noise_variance for p in priors] + choice.error_variance_A).astype(np.float32),
        offset_sd_A=np.sqrt([p.offset_variance for p in priors]).astype(np.float32),
        slope_sd_A=np.sqrt([p.slope_variance for p in priors]).astype(np.float32),
    )
    metrics = {**_metrics(scorer, ratings, choice), "generic_head": "linear"}
    if heads is not None:
        scorer, metrics["generic_head"] = _with_heads(scorer, heads, features_ID, crowd, priors), "network"
    return scorer, metrics


def _with_heads(
    scorer: BaseScorer, heads: FrameHeads, features_ID: np.ndarray, crowd: Crowd, priors: Sequence[PeoplePrior]
) -> BaseScorer:
    """The base model with the network's scores as generic scores; their error on image means is added to the noise."""
    scorer = scorer.with_heads(heads)
    error_IA = crowd.mean_IA - scorer.generic(scorer.project(features_ID))
    noise_A = np.sqrt([p.noise_variance for p in priors] + np.nanmean(np.square(error_IA), axis=0))
    return replace(scorer, noise_sd_A=noise_A.astype(np.float32))


def check_rated_images(ratings: Ratings, group_I: np.ndarray) -> None:
    """Check, without features, that there are enough images for a base model. `group_I`: the images' scenes.

    Raises:
        InvalidInput: fewer than 4 rated images, or all of one scene.
    """
    num_images = len(np.unique(ratings.image_N))
    if num_images < _MIN_IMAGES:
        raise InvalidInput(f"{num_images} rated images; a base model needs {_MIN_IMAGES}")
    if len(np.unique(group_I[np.unique(ratings.image_N)])) < 2:
        raise InvalidInput("all rated images are of one scene: no scene can be held out")


def _checked_groups(features_ID: np.ndarray, ratings: Ratings, group_I: np.ndarray | None) -> np.ndarray:
    if features_ID.ndim != 2 or not np.isfinite(features_ID).all():
        raise InvalidInput(f"features of shape {features_ID.shape}: two dimensions, every value finite")
    if len(ratings.image_N) and (ratings.image_N.min() < 0 or ratings.image_N.max() >= len(features_ID)):
        raise InvalidInput(f"ratings of image {ratings.image_N.max()}, features of {len(features_ID)} images")
    group_I = np.arange(len(features_ID)) if group_I is None else np.asarray(group_I)
    if len(group_I) != len(features_ID):
        raise InvalidInput(f"{len(group_I)} groups for {len(features_ID)} images")
    check_rated_images(ratings, group_I)
    num_images, num_people = len(np.unique(ratings.image_N)), len(np.unique(ratings.person_N))
    num_groups = len(np.unique(group_I[np.unique(ratings.image_N)]))
    if num_images < _FEW_IMAGES or num_people < _FEW_PEOPLE or num_groups < NUM_FOLDS:
        warnings.warn(
            f"a base model of {num_people} people and {num_images} images of {num_groups} scenes: its scores and "
            f"priors are rough",
            SmallDataWarning,
            stacklevel=3,
        )
    return group_I


def _people(ratings: Ratings, taste_IR: np.ndarray, crowd: Crowd, choice: HeadChoice, aspect: int) -> list[Person]:
    """Each person's ratings of one aspect, and their difference from the other people's ratings of the same images."""
    rated_N = ~np.isnan(ratings.score_NA[:, aspect])
    person_N, image_N = ratings.person_N[rated_N], ratings.image_N[rated_N]
    score_N = ratings.score_NA[rated_N, aspect].astype(np.float64)
    others_N = choice.others_N(crowd, person_N, image_N, score_N, aspect)
    order = np.argsort(person_N, kind="stable")
    starts = np.flatnonzero(np.diff(person_N[order])) + 1
    return [
        Person(taste_IR[image_N[rows]], others_N[rows], score_N[rows] - others_N[rows])
        for rows in np.split(order, starts)
    ]


def _equal_variance_basis(taste_IR: np.ndarray, priors: Sequence[PeoplePrior]) -> tuple[np.ndarray, np.ndarray]:
    """The matrix (R, R) after which people's weights have equal variance in every direction, and their sd per aspect.

    Aspects share one taste space, so their covariances are averaged, each divided by its aspect's total variance.
    """
    total_A = np.array([np.einsum("ir,rs,is->i", taste_IR, p.weight_covariance_RR, taste_IR).mean() for p in priors])
    mean_RR = np.mean([p.weight_covariance_RR / total for p, total in zip(priors, total_A, strict=True)], axis=0)
    value_R, vector_RR = np.linalg.eigh(mean_RR)
    value_R, vector_RR = value_R[::-1], vector_RR[:, ::-1]
    vector_RR = vector_RR * np.sign(vector_RR[np.abs(vector_RR).argmax(0), np.arange(len(value_R))])
    matrix_RR = vector_RR * np.sqrt(np.maximum(value_R, _FLOOR_SHARE * value_R.mean()))
    matrix_RR /= np.sqrt(np.square(taste_IR @ matrix_RR).sum(1).mean())
    return matrix_RR, np.sqrt(total_A)


def _metrics(scorer: BaseScorer, ratings: Ratings, choice: HeadChoice) -> dict[str, Any]:
    correlations, num_dropped = [], 0
    for a in range(len(ratings.aspects)):
        held_out_N = choice.held_out_IA[ratings.image_N, a]
        measured_N = ~np.isnan(held_out_N) & ~np.isnan(ratings.score_NA[:, a])
        for person in np.unique(ratings.person_N):
            rows = measured_N & (ratings.person_N == person)
            try:
                correlations.append(srcc(held_out_N[rows], ratings.score_NA[rows, a]))
            except (InvalidInput, UndefinedMetric):  # fewer than two ratings, or all of them equal
                num_dropped += 1
    return {
        "num_people": len(np.unique(ratings.person_N)),
        "num_images": len(np.unique(ratings.image_N)),
        "num_ratings": int((~np.isnan(ratings.score_NA)).sum()),
        "taste_dim": scorer.taste_dim,
        "kernel": "linear" if choice.width is None else "rbf",
        "kernel_width": choice.width,
        "ridge": choice.ridge_A.tolist(),
        "cv_srcc": float(np.mean(correlations)) if correlations else None,
        "cv_num_dropped": num_dropped,
        "cv_crowd_rmse": np.sqrt(choice.error_variance_A).tolist(),
        **{
            name: [round(float(value), 4) for value in getattr(scorer, f"{name}_A")]
            for name in ("prior_sd", "noise_sd", "offset_sd", "slope_sd")
        },
    }
