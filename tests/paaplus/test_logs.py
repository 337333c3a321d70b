"""Logs: one JSON object per line, with the error's location but no personal data."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging, structlog
from paaplus import logs
logs.configure("INFO")
logs.configure("INFO")  # twice: no line twice
log = structlog.get_logger("api.test")

def fail():
    local_secret = "canary-local"
    raise RuntimeError("broken")

with structlog.contextvars.bound_contextvars(request_id="r-1"):
    try:
        fail()
    except RuntimeError as error:
        log.error("unexpected_error", exc_info=error)
logging.getLogger("uvicorn.error").warning("from %s", "the library")
log.debug("not at this level")
logging.getLogger("httpx2").info("HTTP Request: GET http://127.0.0.1/v1/jobs")  # of our own clients, thousands a minute
"""


def test_lines_are_json_with_the_stack_but_without_local_values() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    ours, theirs = [json.loads(line) for line in done.stderr.splitlines()]
    assert (ours["message"], ours["level"], ours["request_id"]) == ("unexpected_error", "error", "r-1")
    assert "in fail" in ours["exception"]
    assert (theirs["message"], theirs["logger"], theirs["level"]) == ("from the library", "uvicorn.error", "warning")
    assert "canary" not in done.stderr
    assert done.stdout == ""
