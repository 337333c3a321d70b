"""How sure a taste vector is that was trained in steps, and what it would score without a rating or two.

Trained long enough, a taste vector is the closed form of the rows that its training stood for, under its prior and
penalties. So the same evidence holds around it, told from its own weights.

Shape letters: N = ratings, A = aspects, P = R + 2 regressors, M = soft targets, L = the latest ratings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring import closed_form
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.priors import design
from paaplus.strategies.stack import Member


@dataclass(frozen=True)
class Evidence:
    """An adapter with how sure it is, and predictions without the ratings that they are of, see `Trained`."""

    adapter: Adapter
    loo_NA: np.ndarray | None = None
    loo_difference_LLA: np.ndarray | None = None


def evidence_of(member: Member, adapter: Adapter, held: Mapping[str, np.ndarray]) -> Evidence:
    """The evidence around a trained adapter; none for a bottleneck, whose score is no linear function of its numbers.

    Args:
        member: the user, with the parts that the training drew from.
        adapter: what came of it.
        held: how firmly penalties hold each parameter, in prior standard deviations; empty: not at all.
    """
    request, parts = member.request, [part for part in member.parts if part.num_drawn]
    strength = request.config.prior_strength
    nothing_known = not len(member.new) and request.parent is None
    # without a prior nothing bounds what was never rated
    if not isinstance(adapter, TasteVector) or not strength or nothing_known:
        return Evidence(adapter)
    drawn = [part.rows.sequence_N for part in parts if part.soft_weight is None]
    sequence_N = np.concatenate([np.empty(0, np.int64), *drawn])
    rated = RatedSet.concatenate(request.past, request.new)
    stood_for_N = np.isin(rated.sequence_N, sequence_N)
    rated = replace(rated, target_NA=np.where(stood_for_N[:, None], rated.target_NA, np.float32(np.nan)))
    compared = ComparedSet.concatenate(request.past_compared, request.new_compared)
    if len(compared):
        compared = compared.select(np.isin(compared.sequence_C, sequence_N))
    precision_PA = np.full((adapter.weight_RA.shape[0] + 2, len(adapter.beta_A)), strength)
    if held:
        precision_PA += np.vstack([held["offset.weight"], held["slope.weight"], held["weight.weight"].T])
    soft = [_soft_targets(member, a) for a in range(precision_PA.shape[1])]
    fitted = closed_form.around(request.base, adapter, rated, compared, precision_PA, soft)
    return Evidence(replace(adapter, uncertainty=fitted.uncertainty), fitted.loo_NA, fitted.loo_difference_LLA)


def _soft_targets(member: Member, aspect: int) -> tuple[np.ndarray, np.ndarray]:
    """Regressors and weights of the images whose scores were to be kept, shapes (M, P) and (M,)."""
    design_MP, weight_M = [np.empty((0, member.request.base.taste_dim + 2))], [np.empty(0)]
    for part in member.parts:
        if part.soft_weight is not None and part.num_drawn:
            known_V = np.ones(len(part.rows.taste_VR), bool)
            if part.soft_VA is not None:
                known_V = ~np.isnan(part.soft_VA[:, aspect])
            design_MP.append(design(part.rows.taste_VR[known_V], part.rows.generic_VA[known_V, aspect]))
            weight_M.append(np.full(int(known_V.sum()), part.soft_weight))
    return np.concatenate(design_MP), np.concatenate(weight_M)
