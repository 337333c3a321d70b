"""The gate: checks that decide whether a candidate adapter replaces the active version."""

from paaplus.gate.cross_fit import cross_fit_requests, cross_fitted, with_learned_order
from paaplus.gate.evidence import Evidence, UnseenRatings, gather
from paaplus.gate.judgement import GateCheck, GateReport, judge

__all__ = [
    "Evidence",
    "GateCheck",
    "GateReport",
    "UnseenRatings",
    "cross_fit_requests",
    "cross_fitted",
    "gather",
    "judge",
    "with_learned_order",
]
