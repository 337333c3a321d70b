"""Bayesian linear regression per aspect: order-free, a millisecond or so. The default for taste vectors.

Every fit (`scoring.closed_form`) is from all feedback, sorted by content: any split of the same log into increments and
any order of arrival give the same bytes, and a retracted rating leaves no trace.

Shape letters: N = ratings, C = comparisons, A = aspects.
"""

import numpy as np

from paaplus.errors import TrainingStopped
from paaplus.records import SCORE_MAX, SCORE_MIN, ComparedSet, RatedSet
from paaplus.scoring import canonical_order, closed_form
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.priors import OwnPrior
from paaplus.scoring.tensors import pack
from paaplus.strategies.base import ShouldStop, Trained, TrainingRequest
from paaplus.strategy_facts import Facts

FACTS = Facts(adapters=("taste_vector",), prior="learned", earlier="exactly: the posterior of all of it", goes_on=False)
_STATE = pack({}, {"format": "learner-1", "strategy": "bayes"})  # a refit from the log needs nothing kept


def fit(request: TrainingRequest, should_stop: ShouldStop = lambda: False) -> Trained:
    """The posterior mean over all feedback as a taste vector; `parent` and `state` are not read."""
    if should_stop():
        raise TrainingStopped("stopped before the first step")
    rated, compared = request.everything()
    order_N, order_C = canonical_order.order_of_ratings(rated), canonical_order.order_of_comparisons(compared)
    ordered = canonical_order.in_order(rated, order_N), canonical_order.in_order(compared, order_C)
    fitted = closed_form.fit(request.base, request.prior or OwnPrior(request.base), *ordered)
    loo_NA = np.empty_like(fitted.loo_NA)
    loo_NA[order_N] = fitted.loo_NA
    metrics = _metrics(fitted.adapter, rated, compared, loo_NA)
    return Trained(fitted.adapter, _STATE, metrics, loo_NA)


def _metrics(adapter: TasteVector, rated: RatedSet, compared: ComparedSet, loo_NA: np.ndarray) -> dict[str, float]:
    metrics = {"num_ratings": float(len(rated)), "num_comparisons": float(len(compared))}
    judged_NA = ~np.isnan(loo_NA)
    if judged_NA.any():
        # one product, unlike `Adapter.score`: nobody is served these, and row by row takes ten times as long
        delta_NA = rated.taste_NR @ adapter.weight_RA
        fitted_NA = np.clip(adapter.alpha_A * rated.generic_NA + adapter.beta_A + delta_NA, SCORE_MIN, SCORE_MAX)
        for name, score_NA in (("generic", rated.generic_NA), ("train", fitted_NA), ("loo", loo_NA)):
            error_J = (score_NA - rated.target_NA)[judged_NA].astype(np.float64)
            metrics[f"{name}_mse"] = float(error_J @ error_J / len(error_J))
    return metrics
