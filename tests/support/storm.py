"""`paaplus chaos` for tests: processes are forks, and the drill may be of some fault points only.

    python -m tests.support.storm POINT,POINT... chaos ...

In a deployment each process that was killed imports for seconds when it starts again: most of a short storm's time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from paaplus.chaos import platform
from paaplus.chaos.platform import Process
from paaplus.chaos.trouble import Troublemaker
from paaplus.cli.main import main
from tests.support.forks import ForkedCommand


def run_forked(command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Like `platform.run_command`, in a fork."""
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        code = ForkedCommand(command, environment, output, errors).wait(platform.COMMAND_TIMEOUT_S)
        return code, output.read_text(), errors.read_text()


if __name__ == "__main__":
    points = sys.argv.pop(1).split(",")
    drill_at = Troublemaker._drill_at

    def drill_some(self: Troublemaker, point: str, among: list[Process], drive: Callable[[str], None]) -> bool:
        return point in points and drill_at(self, point, among, drive)

    Troublemaker._drill_at = drill_some  # type: ignore[method-assign]
    platform.start_process = ForkedCommand  # type: ignore[assignment]
    platform.run_command = run_forked
    main()
