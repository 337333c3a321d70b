"""Bayesian linear regression per aspect: order-free, a millisecond or so. The default for taste vectors.

Every fit (`scoring.closed_form`) is from all feedback: few ratings are sorted by content, of many the sums are exact
(`scoring.rating_sums`). So any split of the same log into increments and any order of arrival give the same bytes, and
a retracted rating leaves no trace.

Shape letters: N = ratings, C = comparisons, A = aspects, J = judged scores.
"""

from typing import Final

import numpy as np

from paaplus.errors import TrainingStopped
from paaplus.records import SCORE_MAX, SCORE_MIN, ComparedSet, RatedSet
from paaplus.scoring import canonical_order, closed_form
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.priors import OwnPrior
from paaplus.scoring.rating_sums import sums_of
from paaplus.scoring.tensors import pack
from paaplus.strategies.base import ShouldStop, Trained, TrainingRequest
from paaplus.strategy_facts import Facts

FACTS = Facts(adapters=("taste_vector",), prior="learned", earlier="exactly: the posterior of all of it", goes_on=False)
_STATE = pack({}, {"format": "learner-1", "strategy": "bayes"})  # a refit from the log needs nothing kept
LIGHTEST: Final = 2.0**-24  # weight of a rating that counts: all lighter ones together are below a float32's last bit
TOLD: Final = 500  # latest ratings whose leave-one-out predictions are told, to the metrics and to the gate


def fit(request: TrainingRequest, should_stop: ShouldStop = lambda: False) -> Trained:
    """The posterior mean over all feedback as a taste vector; `parent` and `state` are not read."""
    if should_stop():
        raise TrainingStopped("stopped before the first step")
    rated, compared = request.everything()
    counts_N, loo_NA = rated.weight_N >= LIGHTEST, np.full(rated.target_NA.shape, np.nan, np.float32)
    counted = rated if counts_N.all() else rated.select(counts_N)
    fitted, loo_NA[counts_N] = _fitted(request, counted, compared)
    metrics = {"num_ratings": float(len(rated)), "num_comparisons": float(len(compared))}
    latest = slice(-TOLD, None)
    metrics |= _errors(fitted.adapter, rated.select(latest), loo_NA[latest])
    return Trained(fitted.adapter, _STATE, metrics, loo_NA)


def _fitted(request: TrainingRequest, rated: RatedSet, compared: ComparedSet) -> tuple[closed_form.Fitted, np.ndarray]:
    """The posterior, and leave-one-out predictions in order of sequence."""
    base, prior = request.base, request.prior or OwnPrior(request.base)
    told_N = np.arange(len(rated)) >= len(rated) - TOLD
    order_C = canonical_order.order_of_comparisons(compared)
    ordered, sums = canonical_order.in_order(compared, order_C), sums_of(base, prior, rated, request.memory)
    if sums is not None:
        fitted = closed_form.fit_sums(base, prior, sums, ordered, told_N)
        return fitted, fitted.loo_of(told_N)
    order_N = canonical_order.order_of_ratings(rated)
    fitted = closed_form.fit(base, prior, canonical_order.in_order(rated, order_N), ordered)
    loo_NA = np.empty(rated.target_NA.shape, np.float32)
    loo_NA[order_N] = fitted.loo_of(told_N[order_N])
    return fitted, loo_NA


def _errors(adapter: TasteVector, rated: RatedSet, loo_NA: np.ndarray) -> dict[str, float]:
    """Mean squared errors of some ratings: of generic scores, of the adapter's, and of those without each rating."""
    judged_NA = ~np.isnan(loo_NA)
    if not judged_NA.any():
        return {}
    # one product, unlike `Adapter.score`: nobody is served these, and row by row takes ten times as long
    delta_NA = rated.taste_NR @ adapter.weight_RA
    fitted_NA = np.clip(adapter.alpha_A * rated.generic_NA + adapter.beta_A + delta_NA, SCORE_MIN, SCORE_MAX)
    metrics = {}
    for name, score_NA in (("generic", rated.generic_NA), ("train", fitted_NA), ("loo", loo_NA)):
        error_J = (score_NA - rated.target_NA)[judged_NA].astype(np.float64)
        metrics[f"{name}_mse"] = float(error_J @ error_J / len(error_J))
    return metrics
