"""The gate's findings as sentences that a person can read: one per check, and the reason made of them.

A sentence names what was measured, what came out, and in brackets what was needed. No sentence holds an identifier of
the user or of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

from paaplus.records import SCORE_MAX, SCORE_MIN

_ORDERS = {"generic": "the generic scores", "active": "the served scores", "candidate": "the candidate's scores"}


def reason(promote: bool, failed: Sequence[str], passed: Sequence[str], note: str = "") -> str:
    """The decision, then the sentences of the failed checks, a note on how it was made, and the passed checks."""
    return " ".join(["Promoted." if promote else "Refused.", *failed, *[note] * bool(note), *passed])


def too_few_ratings(num_unseen: int, needed: int) -> str:
    return f"Only {_count(num_unseen, 'unseen rating')} ({needed} needed), so the size of the change decides."


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


def negative_flips(net_share: float, limit: float, probability: float, needed: float) -> str:
    """`net_share` of all pairs: those that turn wrong less those that turn right."""
    change = f"{100 * abs(net_share):.1f} percentage points {'more' if net_share > 0 else 'fewer'}"
    return f"Pairs in the wrong order: {change} (allowed: {100 * limit:g} more; {_holds(probability, needed)})."


def negative_flips_not_tested(num_ratings: int, needed: int) -> str:
    held_out = _count(num_ratings, "held-out rating")
    return f"Pairs in the wrong order: not tested, only {held_out} with different values ({needed} needed)."


def agreement(num_ratings: int, best: str, tau: float, least: float, probability: float, needed: float) -> str:
    """`best` is "generic", "active" or "candidate"; `tau` Kendall's tau-a with the order of these scores."""
    return (
        f"Consistency: the order of {_count(num_ratings, 'new rating')} agrees best with {_ORDERS[best]}, "
        f"Kendall correlation {tau:.2f} (needed: {least:g}; {_holds(probability, needed)})."
    )


def agreement_not_tested(num_ratings: int, needed: int) -> str:
    return f"Consistency: not tested, only {_count(num_ratings, 'new rating')} ({needed} needed)."


def trust_region(shift: float, limit: float) -> str:
    """Both in score points."""
    return f"Size of the change: scores move by {shift:.2f} on average (allowed: {limit:g})."


def trust_region_not_measured() -> str:
    return "Size of the change: unknown, there is no image to measure it on."


def _holds(probability: float, needed: float) -> str:
    return f"probability that this holds: {probability:.2f}, needed: {needed:g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
