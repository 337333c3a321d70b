"""Run a Python file in its own folder, as `python FILE ARGUMENTS...` does there, but in this process.

A process of its own imports torch, timm and what they need once more, which takes seconds.
"""

from __future__ import annotations

import gc
import io
import os
import runpy
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock


def run_script(file: Path, arguments: Sequence[str], environment: dict[str, str]) -> CompletedProcess[str]:
    """What `subprocess.run` gives for the file. Modules that it imports from its own folder stay imported."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        chdir(file.parent),
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "argv", [file.name, *arguments]),
        mock.patch.object(sys, "path", [str(file.parent), *sys.path]),
        mock.patch.object(sys, "dont_write_bytecode", True),  # the folder may be somebody else's
        redirect_stdout(output),
        redirect_stderr(errors),
        warnings.catch_warnings(action="ignore", category=ResourceWarning),  # a process ends, and closes its files
    ):
        code = _exit_code(file)
        gc.collect()
    return CompletedProcess([file.name, *arguments], code, output.getvalue(), errors.getvalue())


def _exit_code(file: Path) -> int:
    try:
        runpy.run_path(file.name, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0
