"""The gate: what a user's feedback as a whole says, and whether a candidate adapter replaces the active version."""

from paaplus.gate.evidence import Evidence, UnseenComparisons, UnseenRatings, gather
from paaplus.gate.judgement import GateCheck, GateReport, judge
from paaplus.gate.verdict import EvidenceCache, FeedbackVerdict, feedback_verdict

__all__ = [
    "Evidence",
    "EvidenceCache",
    "FeedbackVerdict",
    "GateCheck",
    "GateReport",
    "UnseenComparisons",
    "UnseenRatings",
    "feedback_verdict",
    "gather",
    "judge",
]
