"""Bodies in photographs: who is there, where the joints are, and the mesh."""

from paaplus.models.physiqueframe.body.parity import smplerx_parity

__all__ = ["smplerx_parity"]
