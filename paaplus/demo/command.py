"""The command `paaplus demo`, also `python -m paaplus.demo`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from paaplus import extras
from paaplus.errors import InvalidInput, Unavailable


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
    folder: Annotated[Path, typer.Option(help="Folder of the report and of the demo's own platform.")] = Path(
        "var/demo"
    ),
    stages: Annotated[
        bool, typer.Option("--stages", help="Play the three stages of PAA+: tools, experts, matching, feedback.")
    ] = False,
    people: Annotated[
        int | None, typer.Option(min=2, help="How many people to adapt to; default: 12, with --stages 8.")
    ] = None,
    increment: Annotated[
        int, typer.Option(min=8, help="Ratings per person and increment; there are three increments.")
    ] = 40,
    variants: Annotated[
        int | None,
        typer.Option(
            min=1, help="Pictures of each scene of the built-in set: 7 are quick; default: 20, with --stages 10."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of people, held-out images and order.")] = 0,
) -> None:
    """Play the whole loop over HTTP on a platform of its own, and write a report into var/demo."""
    if data is not None and variants is not None:
        raise InvalidInput("--variants is for the built-in set: --data has pictures of its own")
    extras.require("matplotlib", "celery", "torch")  # before anything is written
    try:
        from paaplus.data.builtin_set.build import NUM_VARIANTS
        from paaplus.demo.run import run_demo
        from paaplus.demo.stages.run import NUM_VARIANTS as STAGES_VARIANTS
        from paaplus.demo.stages.run import run_stages
    except ImportError as error:
        raise Unavailable(
            f"the demo needs packages that are not installed ({error.name}): pip install 'paaplus[demo]'"
        ) from error
    folder = folder.expanduser()  # no shell does it in `--folder=~/demo`
    signal.signal(signal.SIGTERM, _exit)  # so that SIGTERM stops the platform too
    if stages:
        run_stages(data, folder, num_users=people or 8, num_variants=variants or STAGES_VARIANTS, seed=seed)
        return
    run_demo(
        data,
        folder,
        num_people=people or 12,
        increment_size=increment,
        num_variants=variants or NUM_VARIANTS,
        seed=seed,
    )


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
