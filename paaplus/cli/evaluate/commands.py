"""`paaplus evaluate`: replay a data set and measure. Needs no database."""

from __future__ import annotations

import typer

from paaplus.cli.evaluate.drift import drift
from paaplus.cli.evaluate.gate import gate
from paaplus.cli.evaluate.kshot import kshot
from paaplus.cli.evaluate.matching import matching
from paaplus.cli.evaluate.paradigm import paradigm
from paaplus.cli.evaluate.piaa import piaa
from paaplus.cli.evaluate.reviews import reviews
from paaplus.cli.evaluate.robustness import robustness
from paaplus.cli.evaluate.stream import stream
from paaplus.cli.evaluate.survey import survey

app = typer.Typer()

for command in (kshot, drift, gate, reviews, matching, paradigm, piaa, robustness, stream, survey):
    app.command()(command)
