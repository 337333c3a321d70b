"""Run a Python file in its own folder, as `python FILE ARGUMENTS...` does there; for forks, which have imported torch.

python -m tests.support.run_script FILE ARGUMENTS...
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    file = Path(sys.argv[1]).absolute()
    sys.dont_write_bytecode = True  # the folder may be somebody else's
    os.chdir(file.parent)
    sys.path.insert(0, str(file.parent))
    sys.argv = [file.name, *sys.argv[2:]]
    runpy.run_path(file.name, run_name="__main__")
