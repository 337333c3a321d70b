"""The demo as a command, for `paaplus demo` and `python -m paaplus.demo`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from paaplus.errors import Unavailable


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="PAAPLUS_DATA",
            exists=True,
            file_okay=False,
            help="images/ and ratings.csv of real people; default: the built-in set with simulated people.",
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="For the report and the demo's own platform.")] = Path("var/demo"),
    stages: Annotated[
        bool, typer.Option("--stages", help="Play the three stages of PAA+: tools, experts, matching, feedback.")
    ] = False,
    people: Annotated[
        int | None, typer.Option(min=2, help="How many people to adapt to; default: 12, with --stages 8.")
    ] = None,
    increment: Annotated[int, typer.Option(min=8, help="Ratings a person gives at a time, three times.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of people, held-out images and order.")] = 0,
) -> None:
    """Play the whole loop over HTTP on a platform of its own, and write a report into var/demo."""
    try:
        from paaplus.demo.run import run_demo
        from paaplus.demo.stages.run import run_stages
    except ImportError as error:
        raise Unavailable(
            f"the demo needs packages that are not installed ({error.name}): pip install 'paaplus[demo]'"
        ) from error
    signal.signal(signal.SIGTERM, _exit)  # so that the platform is ended then too
    if stages:
        run_stages(data, folder, num_users=people or 8, seed=seed)
        return
    run_demo(data, folder, num_people=people or 12, increment_size=increment, seed=seed)


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
