"""The garbage collector in processes that serve, train or run a command.

An import makes hundreds of thousands of objects that live as long as the process, and a request or a claim makes
thousands of which nearly none are in circles. With Python's own thresholds the collector looks at all of them again and
again, which is a fifth of a start, and makes the slowest hundredth of the requests slow.
"""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 20, 100)


def look_seldom() -> None:
    """Begin a process: before its modules are imported."""
    gc.set_threshold(*THRESHOLDS)


def leave_out_what_is_there() -> None:
    """End the start of a process: what was imported and made so far is not looked at again."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
