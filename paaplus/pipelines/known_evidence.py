"""The evidence of long logs that a worker has measured (`paaplus.gate.evidence_memory`), within a bound."""

from __future__ import annotations

from typing import Final

from paaplus.gate import KnownEvidence
from paaplus.services.predictions.cache import SizedCache

EVIDENCE_MB: Final = 64


class KnownEvidenceCache:
    """Keeps what is known of the logs that were judged last, up to so many bytes. Safe for threads."""

    def __init__(self, max_bytes: int = EVIDENCE_MB * 2**20) -> None:
        self._known: SizedCache[bytes, KnownEvidence] = SizedCache(max_bytes)

    def get(self, basis: bytes) -> KnownEvidence | None:
        return self._known.get_each([basis])[0]

    def put(self, basis: bytes, known: KnownEvidence) -> None:
        self._known.put(basis, known, known.num_bytes)
