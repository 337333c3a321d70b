"""How sure a taste vector is that was trained in steps, and what it would score without a rating or two.

Trained long enough, it is the closed form of the rows that its training stood for, under its prior and penalties.
Shape letters: N = ratings, A = aspects, P = R + 2 regressors, M = soft targets.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from paaplus.scoring import closed_form
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.strategies.rows import Part
from paaplus.strategies.stack import Member


def evidence_of(member: Member, adapter: Adapter, held: Mapping[str, np.ndarray]) -> tuple[Adapter, np.ndarray | None]:
    """A trained adapter with how sure it is, and predictions without ratings (`Trained.loo_NA`).

    None for a bottleneck, whose score is no linear function of its numbers, and without a prior, since nothing then
    bounds what was never rated. `held` is how firmly penalties hold each parameter, in prior standard deviations.
    """
    request, strength = member.request, member.request.config.prior_strength
    nothing_known = not len(member.new) and request.parent is None
    if not isinstance(adapter, TasteVector) or not strength or nothing_known:
        return adapter, None
    parts = [part for part in member.parts if part.num_drawn]
    sequence_N = np.concatenate([[], *(part.rows.sequence_N for part in parts if part.soft_weight is None)])
    rated, compared = request.everything()
    stood_for_N = np.isin(rated.sequence_N, sequence_N)
    rated = replace(rated, target_NA=np.where(stood_for_N[:, None], rated.target_NA, np.float32(np.nan)))
    if len(compared):
        compared = compared.select(np.isin(compared.sequence_C, sequence_N))
    precision_PA = np.full((adapter.weight_RA.shape[0] + 2, len(adapter.beta_A)), strength)
    if held:
        precision_PA += np.vstack([held["offset.weight"], held["slope.weight"], held["weight.weight"].T])
    soft = [_soft_targets(part) for part in parts if part.soft_weight is not None]
    fitted = closed_form.around(request.base, adapter, rated, compared, precision_PA, soft)
    return replace(adapter, uncertainty=fitted.uncertainty), fitted.loo_NA


def _soft_targets(part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Taste, generic scores and weights of images whose scores were to be kept; shapes (M, R), (M, A) and (M, A)."""
    known_VA = np.ones(part.rows.generic_VA.shape) if part.soft_VA is None else ~np.isnan(part.soft_VA)
    return part.rows.taste_VR, part.rows.generic_VA, known_VA * float(part.soft_weight or 0.0)
