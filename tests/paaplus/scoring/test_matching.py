"""Matching on simulated people, with a tiny base model for which few ratings are enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.closed_form import fit
from paaplus.scoring.experts import Expert, Panel, combination_prior, expert_prior, factor_of, weights_of
from paaplus.scoring.matching import COMBINATION, EXPERT, GENERIC, Selection, select
from paaplus.scoring.model_evidence import Answers, posterior_given
from paaplus.scoring.priors import OwnPrior, ShiftedPrior, TastePrior, design
from tests.support.learning import base_of, comparisons, none_of, person, ratings, taste_of

BASE = base_of(2)
OWN = OwnPrior(BASE)
RATED = ratings(BASE, person(BASE), 12)
NOBODY = none_of(RATED)
COMPARED = comparisons(BASE, person(BASE), 11, first_sequence=50)


def expert(number: int, base: BaseScorer = BASE, name: str | None = None) -> Expert:
    """A simulated expert without noise."""
    return Expert(name or f"expert-{number}", taste_of(base, person(base, seed=number), offset=0.1, slope=0.05), 100)


EXPERTS = [expert(number) for number in range(1, 6)]


def chosen(experts: list[Expert] = EXPERTS, rated: RatedSet = RATED, compared: ComparedSet = COMPARED) -> Selection:
    return select(BASE, OWN, experts, rated, compared)


@pytest.mark.parametrize("rated", [NOBODY, RATED])
@pytest.mark.parametrize("compared", [NO_COMPARISONS, COMPARED])
def test_probabilities_are_over_all_candidates_and_sum_to_one(rated: RatedSet, compared: ComparedSet) -> None:
    found = chosen(rated=rated, compared=compared)
    assert set(found.probabilities) == {GENERIC, COMBINATION, *(one.id for one in EXPERTS)}
    assert sum(found.probabilities.values()) == pytest.approx(1.0)
    assert min(found.probabilities.values()) > 0
    assert {num_pairs for _, num_pairs in found.agreement.values()} == {len(compared)}


def test_order_of_experts_does_not_matter() -> None:
    one, two = chosen(), chosen(EXPERTS[::-1])
    assert one.probabilities == two.probabilities
    assert (one.kind, one.shares, one.agreement, one.reason) == (two.kind, two.shares, two.agreement, two.reason)
    assert combination_prior(BASE, OWN, EXPERTS).digest == combination_prior(BASE, OWN, EXPERTS[::-1]).digest


def test_expert_with_the_same_answers_wins_with_enough_evidence() -> None:
    like = Expert("like", taste_of(BASE, person(BASE)), 100)
    rated, compared = ratings(BASE, person(BASE), 25), comparisons(BASE, person(BASE), 25, first_sequence=100)
    found = chosen([*EXPERTS, like], rated, compared)
    assert (found.kind, found.expert_id, found.shares) == (EXPERT, "like", {"like": 1.0})
    assert found.probabilities["like"] > 0.9
    agreed, num_pairs = found.agreement["like"]
    assert num_pairs == 25
    assert agreed > 20
    assert f"agrees with you on {agreed:g} of 25 pairs" in found.reason
    assert "like" not in found.reason
    weight_PA = weights_of(like.adapter)
    np.testing.assert_allclose([found.prior.mean(a) for a in range(2)], weight_PA.T, rtol=1e-6)
    assert chosen([*EXPERTS, like], rated.select(np.arange(2)), NO_COMPARISONS).kind != EXPERT


def test_comparisons_alone_find_the_expert_too() -> None:
    like = Expert("like", taste_of(BASE, person(BASE)), 100)
    found = chosen([*EXPERTS, like], NOBODY, comparisons(BASE, person(BASE), 60))
    assert found.expert_id == "like"


def test_two_equal_experts_share_one_prior_probability() -> None:
    """A clone has half of the probability of its original; the others and the combination do not change."""
    clone = replace(EXPERTS[0], id="clone")
    alone, cloned = chosen(), chosen([*EXPERTS, clone])
    together = cloned.probabilities["clone"] + cloned.probabilities["expert-1"]
    assert together == pytest.approx(alone.probabilities["expert-1"], rel=0.05)
    assert cloned.probabilities["clone"] == pytest.approx(cloned.probabilities["expert-1"])
    assert cloned.probabilities["expert-3"] == pytest.approx(alone.probabilities["expert-3"], rel=0.05)


def test_shares_of_many_experts_approximate_the_expected_taste() -> None:
    """With many experts, the sum of shares times deviations is close to the user's weights."""
    experts = [expert(number) for number in range(1, 60)]
    rated = ratings(BASE, person(BASE), 40)
    panel = Panel.of(BASE, OWN, experts)
    found = select(BASE, OWN, experts, rated, NO_COMPARISONS, panel=panel)
    assert found.kind == COMBINATION
    share_E = np.array([found.shares[one.id] for one in panel.experts])
    rebuilt_PA = np.tensordot(share_E, panel.deviation_EPA, 1)
    wanted_PA = weights_of(fit(BASE, found.prior, rated, NO_COMPARISONS).adapter)
    correlation = np.corrcoef(rebuilt_PA[2:].ravel(), wanted_PA[2:].ravel())[0, 1]
    assert correlation > 0.5
    without_answers = select(BASE, OWN, experts, NOBODY, NO_COMPARISONS)
    assert set(without_answers.shares.values()) == {0.0}


def test_without_experts_the_current_prior_stays() -> None:
    found = chosen([])
    assert (found.kind, found.expert_id, found.prior, found.probabilities) == (GENERIC, None, None, {GENERIC: 1.0})
    assert found.reason


def test_without_answers_the_match_is_the_combination_and_the_reason_says_so() -> None:
    found = chosen(rated=NOBODY, compared=NO_COMPARISONS)
    assert found.kind == COMBINATION
    assert found.agreement == {one.id: (0.0, 0) for one in EXPERTS}
    assert "without answers" in found.reason


def test_user_unlike_all_experts_stays_with_the_current_prior() -> None:
    """Experts differ along one direction only, the user along all others."""
    along_RA, across_RA = np.zeros((2, BASE.taste_dim, 2))
    along_RA[0], across_RA[1:] = 4.0, 12.0
    amount_E = np.random.default_rng(0).normal(size=600)
    experts = [Expert(f"e{i:03d}", taste_of(BASE, amount * along_RA), 100) for i, amount in enumerate(amount_E)]
    found = chosen(experts, ratings(BASE, across_RA, 25, missing=0.0), NO_COMPARISONS)
    assert found.kind == GENERIC
    assert found.prior is None
    assert "generic model" in found.reason


def test_ties_count_half_and_pairs_without_an_answer_do_not_count() -> None:
    preference_CA = np.array([[0.5, 0.5], [1.0, np.nan], [np.nan, np.nan]])
    answered = replace(COMPARED.select(np.arange(3)), preference_CA=preference_CA.astype(np.float32))
    found = chosen(compared=answered)
    for one in EXPERTS:
        agreed, num_pairs = found.agreement[one.id]
        assert num_pairs == 2
        first_A, second_A = (
            one.adapter.score(taste_CR[1:2], generic_CA[1:2])[0]
            for taste_CR, generic_CA in (
                (answered.first_taste_CR, answered.first_generic_CA),
                (answered.second_taste_CR, answered.second_generic_CA),
            )
        )
        assert agreed == 0.5 + float(first_A[0] > second_A[0])


def test_aspects_without_answers_have_no_effect() -> None:
    one_aspect = RATED.target_NA.copy()
    one_aspect[:, 1] = np.nan
    silent = replace(COMPARED, preference_CA=np.full_like(COMPARED.preference_CA, np.nan))
    found = chosen(rated=replace(RATED, target_NA=one_aspect), compared=silent)
    base = base_of(1)
    assert base.taste_dim == BASE.taste_dim
    assert found.agreement["expert-1"] == (0.0, 0)
    all_silent = chosen(rated=replace(RATED, target_NA=np.full_like(one_aspect, np.nan)), compared=silent)
    nothing = chosen(rated=NOBODY, compared=NO_COMPARISONS)
    assert all_silent.probabilities == pytest.approx(nothing.probabilities)
    assert found.probabilities != pytest.approx(nothing.probabilities)


def test_survey_shifts_every_candidate() -> None:
    """If a survey predicts higher ratings, and they are higher, the probabilities do not change."""
    shift_PA = np.zeros((BASE.taste_dim + 2, 2))
    shift_PA[0] = 2.0
    higher = replace(RATED, target_NA=np.minimum(RATED.target_NA + 2.0, 20.0))
    moved = select(BASE, OWN, EXPERTS, higher, NO_COMPARISONS, shift_PA)
    assert moved.probabilities == pytest.approx(chosen(compared=NO_COMPARISONS).probabilities, rel=1e-5)
    with pytest.raises(InvalidInput, match="shift"):
        select(BASE, OWN, EXPERTS, RATED, COMPARED, shift_PA[1:])


def test_inputs_that_do_not_fit_together_are_refused() -> None:
    other = replace(EXPERTS[0], adapter=replace(EXPERTS[0].adapter, base_digest="0" * 64))
    with pytest.raises(InvalidInput, match="expert expert-1 is of base model"):
        chosen([other])
    with pytest.raises(InvalidInput, match="twice"):
        chosen([EXPERTS[0], EXPERTS[0]])
    with pytest.raises(InvalidInput, match="no experts"):
        combination_prior(BASE, OWN, [])
    with pytest.raises(InvalidInput, match="taste prior of base"):
        select(BASE, OwnPrior(base_of(1)), EXPERTS, RATED, COMPARED)


def test_a_few_experts_change_the_prior_little_and_many_replace_it() -> None:
    def far(number: int) -> float:
        tastes = [2.0 * person(BASE, seed=seed) for seed in range(1, number + 1)]
        experts = [Expert(f"e{i}", taste_of(BASE, weight_RA), 100) for i, weight_RA in enumerate(tastes)]
        combined = combination_prior(BASE, OWN, experts)
        own_PK, combined_PK = factor_of(OWN, 0), factor_of(combined, 0)
        own_PP, combined_PP = own_PK @ own_PK.T, combined_PK @ combined_PK.T
        return float(np.linalg.norm(combined_PP - own_PP) / np.linalg.norm(own_PP))

    assert far(3) < 0.1
    assert far(400) > 1.0


def test_priors_of_matches_work_like_any_fitted_prior() -> None:
    """They round-trip through bytes, and the closed form fits with them and gives an uncertainty."""
    for prior in (combination_prior(BASE, OWN, EXPERTS), expert_prior(BASE, OWN, EXPERTS[0])):
        back = TastePrior.from_bytes(prior.to_bytes())
        assert back.digest == prior.digest
        assert back.fits(BASE)
        adapter = fit(BASE, back, RATED, COMPARED).adapter
        assert adapter.uncertainty is not None
        assert adapter.uncertainty.prior_digest == prior.digest
    assert isinstance(adapter, TasteVector)
    again = fit(BASE, expert_prior(BASE, OWN, EXPERTS[0]), NOBODY, NO_COMPARISONS).adapter
    np.testing.assert_allclose(again.weight_RA, EXPERTS[0].adapter.weight_RA, rtol=1e-5)


@pytest.mark.parametrize("rated", [NOBODY, RATED])
@pytest.mark.parametrize("compared", [NO_COMPARISONS, COMPARED])
def test_posterior_given_answers_equals_the_closed_form(rated: RatedSet, compared: ComparedSet) -> None:
    """Expected scores of any image, and the weights that follow from the gradient, are those of `closed_form.fit`."""
    shown = ratings(BASE, person(BASE), 30, seed=4)
    for prior in (OWN, combination_prior(BASE, OWN, EXPERTS), ShiftedPrior(OWN, np.full((BASE.taste_dim + 2, 2), 0.1))):
        adapter = fit(BASE, prior, rated, compared).adapter
        for a in range(2):
            answers, factor_PK = Answers.of(rated, compared, a, BASE.taste_dim + 2), factor_of(prior, a)
            generic_N = shown.generic_NA[:, a].astype(np.float64)
            design_NP = design(shown.taste_NR, generic_N)
            noise_sd = float(prior.noise_sd_A[a])
            posterior = posterior_given(answers, factor_PK, prior.mean(a)[None], noise_sd, design_NP, generic_N)
            weight_P = prior.mean(a) + factor_PK @ (factor_PK.T @ posterior.gradient_EP[0])
            np.testing.assert_allclose(weight_P, weights_of(adapter)[:, a], atol=1e-5)
            np.testing.assert_allclose(posterior.score_EI[0], generic_N + design_NP @ weight_P, atol=1e-6)
            variance_N = np.square(design_NP @ factor_PK).sum(1)
            assert (posterior.covariance_EII[0].diagonal() <= variance_N + 1e-9).all()


def test_evidence_of_ratings_is_exact_and_that_of_comparisons_close() -> None:
    """Against the normal density, and against an average over many people drawn from the prior."""
    prior_PK, noise_sd, zero_P = factor_of(OWN, 0), float(OWN.noise_sd_A[0]), np.zeros((1, BASE.taste_dim + 2))
    answers = Answers.of(RATED, NO_COMPARISONS, 0, BASE.taste_dim + 2)
    covariance_NN = answers.design_NP @ prior_PK @ prior_PK.T @ answers.design_NP.T + noise_sd**2 * np.eye(len(answers))
    _, log_det = np.linalg.slogdet(2 * np.pi * covariance_NN)
    exact = -0.5 * (answers.residual_N @ np.linalg.solve(covariance_NN, answers.residual_N) + log_det)
    assert posterior_given(answers, prior_PK, zero_P, noise_sd).log_evidence_E[0] == pytest.approx(exact)

    from paaplus.scoring.comparisons import log_likelihood

    answers = Answers.of(NOBODY, COMPARED.select(np.arange(4)), 0, BASE.taste_dim + 2)
    drawn_SP = np.random.default_rng(0).normal(size=(200_000, prior_PK.shape[1])) @ prior_PK.T
    difference_SC = answers.generic_difference_C + drawn_SP @ answers.design_CP.T
    log_likelihood_S = log_likelihood(difference_SC, answers.preference_C, np.array(noise_sd)).sum(1)
    found = posterior_given(answers, prior_PK, zero_P, noise_sd).log_evidence_E[0]
    assert found == pytest.approx(np.log(np.exp(log_likelihood_S).mean()), abs=0.25)
