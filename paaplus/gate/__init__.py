"""The gate: what a user's feedback as a whole says, and whether a candidate adapter replaces the active version."""

from paaplus.gate.check import GateCheck
from paaplus.gate.evidence import Evidence, UnseenComparisons, UnseenRatings, gather
from paaplus.gate.evidence_memory import EvidenceMemory, KnownEvidence
from paaplus.gate.judgement import GateReport, judge
from paaplus.gate.robustness import RobustnessEvidence
from paaplus.gate.verdict import (
    EvidenceCache,
    FeedbackVerdict,
    JudgedFeedback,
    feedback_verdict,
    feedback_verdicts,
)

__all__ = [
    "Evidence",
    "EvidenceCache",
    "EvidenceMemory",
    "FeedbackVerdict",
    "GateCheck",
    "GateReport",
    "JudgedFeedback",
    "KnownEvidence",
    "RobustnessEvidence",
    "UnseenComparisons",
    "UnseenRatings",
    "feedback_verdict",
    "feedback_verdicts",
    "gather",
    "judge",
]
