"""`python -m paaplus.demo`: the same as `paaplus demo`."""

import sys

import typer

from paaplus.demo.command import demo
from paaplus.errors import PaaplusError

try:
    typer.run(demo)
except PaaplusError as error:
    sys.exit(f"error ({error.code}): {error}")
