"""`paaplus evaluate`: replay a data set and measure. Needs no database."""

from __future__ import annotations

import typer

from paaplus.cli.evaluate_drift import drift
from paaplus.cli.evaluate_gate import gate
from paaplus.cli.evaluate_kshot import kshot
from paaplus.cli.evaluate_matching import matching
from paaplus.cli.evaluate_paradigm import paradigm
from paaplus.cli.evaluate_reviews import reviews
from paaplus.cli.evaluate_stream import stream
from paaplus.cli.evaluate_survey import survey

app = typer.Typer(help="Replay a data set as if its people gave it, and measure.")

for command in (kshot, drift, gate, reviews, matching, paradigm, stream, survey):
    app.command()(command)
