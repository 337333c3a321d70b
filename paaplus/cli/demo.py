"""`paaplus demo`: the whole loop on a platform of its own, with a report."""

from paaplus.demo.command import demo

__all__ = ["demo"]
