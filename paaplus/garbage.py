"""The garbage collector in processes that serve, train or run a command.

An import makes hundreds of thousands of objects that live as long as the process, and a request or a claim makes
thousands of which nearly none are in circles. With Python's own thresholds the collector looks at all of them again and
again: a sixth of a start, a quarter of a short command, and the slowest hundredth of the requests.
"""

from __future__ import annotations

import atexit
import gc
from functools import cache
from typing import Final

STARTING: Final = (300_000, 20, 100)  # more objects than the API's import makes
STARTED: Final = (50_000, 20, 100)


def begin_process() -> None:
    """Before a process imports its modules: look seldom, and not at all of them at its end."""
    gc.set_threshold(*STARTING)
    atexit.register(gc.freeze)


@cache
def leave_out_what_is_there() -> None:
    """When a process has started: what was imported and made so far is not looked at again. Once in a process.

    Garbage in circles that is there now stays.
    """
    gc.freeze()
    gc.set_threshold(*STARTED)
