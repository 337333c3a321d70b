"""The gate: may a candidate adapter go live in place of the active one?"""

from paaplus.gate.cross_fit import completed, halves, with_order
from paaplus.gate.evidence import Evidence, Unseen, gather
from paaplus.gate.judgement import GateCheck, GateReport, judge

__all__ = ["Evidence", "GateCheck", "GateReport", "Unseen", "completed", "gather", "halves", "judge", "with_order"]
