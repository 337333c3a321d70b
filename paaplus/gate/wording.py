"""The gate's findings as sentences that a person can read: one per check, and the reason made of them.

A sentence names what was measured, what came out, and in brackets what was needed. No sentence holds an identifier of
the user or of an image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from paaplus.gate.verdict import FeedbackVerdict
from paaplus.records import SCORE_MAX, SCORE_MIN

_LARGEST_ODDS = 1000.0  # larger ones are told as "more than"
_FORMER = {"negative_flips": "Pairs in the wrong order", "generic": "Pairs in the wrong order, against generic scores"}


def reason(promote: bool, failed: Sequence[str], passed: Sequence[str]) -> str:
    """The decision, then the sentences of the failed checks, and those of the passed checks."""
    return " ".join(["Promoted." if promote else "Refused.", *failed, *passed])


def order(verdict: FeedbackVerdict, limit: float) -> str:
    """Whether the user's feedback follows an order; `limit` of the log odds."""
    needed = f"needed: {math.exp(limit):g} to 1"
    answers = _count(verdict.num_in_window, "answer")
    if verdict.all_alike:
        alike = f"all {_count(verdict.num_alike, 'answer')} are alike"
        if verdict.num_alike < verdict.num_answers:
            alike = f"the {answers} of {verdict.num_answers} that follow an order best are alike"
        told = f"{alike}, so they show no order: answers that differ are needed"
        return f"Order: {told} (odds: {_odds(verdict.score)}, {needed})."
    part = "" if verdict.num_in_window == verdict.num_answers else f" of {verdict.num_answers}"
    turn = " since the taste turned" if verdict.turned else ""
    return f"Order: the odds that {answers}{part}{turn} follow an order are {_odds(verdict.score)} ({needed})."


def quarantined(verdict: FeedbackVerdict, num_events: int) -> str:
    """Why events are set aside."""
    if verdict.turned:
        why = "the taste has turned since"
    elif verdict.last is not None:
        why = "together with the earlier answers they follow no order"
    else:
        why = "together with the later answers they follow no order"
    return (
        f"Quarantined: {_count(num_events, 'event')} outside the window of {verdict.num_in_window} answers that "
        f"follow an order best; {why}. They do not train until they are released."
    )


def retired(verdict: FeedbackVerdict) -> str:
    """Why a version that was served is served no more."""
    return f"Retired: generic scores are better supported. {order(verdict, 0.0)}"


def loss_not_tested(num_unseen: int, needed: int) -> str:
    return f"Squared error: not tested, only {_count(num_unseen, 'unseen rating')} ({needed} needed)."


def comparisons(
    num: int,
    gain: float,
    right_shares: tuple[float | None, float | None],
    margin: float,
    probability: float,
    needed: float,
) -> str:
    """`gain` and `margin` in nats; `right_shares` of the candidate and of the generic scores."""
    change = f"{abs(gain):.2f} {'lower' if gain >= 0 else 'higher'}"
    right, generic = right_shares
    shares = (
        ""
        if right is None or generic is None
        else (f", {100 * right:.0f} % in the right order (generic scores: {100 * generic:.0f} %)")
    )
    allowed = f"allowed: {margin:g} higher; {_holds(probability, needed)}"
    return f"Log loss on {_count(num, 'unseen comparison')}: {change} ({allowed}){shares}."


def comparisons_not_tested(num: int, needed: int) -> str:
    return f"Log loss of comparisons: not tested, only {_count(num, 'unseen comparison')} ({needed} needed)."


def sound_scores(num_bad: int, num_scores: int) -> str:
    found = f"{num_bad} of {num_scores} are not" if num_bad else f"all {num_scores} are"
    return f"Scores: {found} numbers from {SCORE_MIN:g} to {SCORE_MAX:g}."


def loss(num_ratings: int, gain: float, margin: float, probability: float, needed: float) -> str:
    """`gain` and `margin` in squared score points; `probability` that the loss is within the margin."""
    change = f"{abs(gain):.2f} {'lower' if gain >= 0 else 'higher'}"
    allowed = f"allowed: {margin:g} higher; {_holds(probability, needed)}"
    return f"Squared error on {_count(num_ratings, 'unseen rating')}: {change} ({allowed})."


def forgetting(num_ratings: int, gain: float, margin: float, probability: float, needed: float) -> str:
    """Like `loss`, on held-out ratings of earlier increments."""
    change = f"{abs(gain):.2f} {'lower' if gain >= 0 else 'higher'}"
    allowed = f"allowed: {margin:g} higher; {_holds(probability, needed)}"
    return f"Forgetting: squared error on {_count(num_ratings, 'old held-out rating')} is {change} ({allowed})."


def forgetting_not_tested(num_ratings: int, needed: int) -> str:
    return f"Forgetting: not tested, only {_count(num_ratings, 'old held-out rating')} ({needed} needed)."


def flips(check: str, net_share: float, limit: float, probability: float, needed: float) -> str:
    """`check` is "negative_flips" or "generic". `net_share` of all pairs: those that turn wrong less the others."""
    change = f"{100 * abs(net_share):.1f} percentage points {'more' if net_share > 0 else 'fewer'}"
    return f"{_FORMER[check]}: {change} (allowed: {100 * limit:g} more; {_holds(probability, needed)})."


def flips_not_tested(check: str, num_ratings: int, needed: int) -> str:
    held_out = _count(num_ratings, "held-out rating")
    return f"{_FORMER[check]}: not tested, only {held_out} with different values ({needed} needed)."


def _odds(score: float) -> str:
    odds = math.exp(min(score, math.log(_LARGEST_ODDS)))
    if score > math.log(_LARGEST_ODDS):
        return f"more than {_LARGEST_ODDS:g} to 1"
    return f"{odds:.0f} to 1" if odds >= 10.0 else f"{odds:.2g} to 1" if odds >= 0.01 else "less than 0.01 to 1"


def _holds(probability: float, needed: float) -> str:
    return f"probability that this holds: {probability:.2f}, needed: {needed:g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
