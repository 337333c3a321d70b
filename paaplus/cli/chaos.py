"""`paaplus chaos`: see paaplus/chaos/."""

from paaplus.chaos.command import chaos

__all__ = ["chaos"]
