"""What studies learn is what a worker's training gives, and the closed form to rounding."""

from __future__ import annotations

import numpy as np

from paaplus.evaluation.closed_form import learned
from paaplus.scoring import closed_form
from paaplus.scoring.priors import OwnPrior, ShiftedPrior
from paaplus.strategies import bayes
from tests.support.learning import base_of, comparisons, first_request, none_of, person, ratings

BASE = base_of(2)
RATED = ratings(BASE, person(BASE), 20)
COMPARED = comparisons(BASE, person(BASE), 6, first_sequence=40)


def test_it_is_what_a_worker_trains() -> None:
    served = bayes.fit(first_request("bayes", "taste_vector", BASE, RATED)).adapter
    assert learned(BASE, RATED).digest == served.digest


def test_it_is_the_closed_form_under_the_prior_that_is_given() -> None:
    shifted = ShiftedPrior(OwnPrior(BASE), np.full((BASE.taste_dim + 2, 2), 0.1))
    for rated, compared, prior in ((RATED, COMPARED, shifted), (none_of(RATED), COMPARED, OwnPrior(BASE))):
        found = learned(BASE, rated, compared, prior)
        expected = closed_form.fit(BASE, prior, rated, compared).adapter
        for name in ("alpha_A", "beta_A", "weight_RA"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6, err_msg=name)
    assert learned(BASE, none_of(RATED), prior=shifted).digest != learned(BASE, none_of(RATED)).digest
