"""Stands between pytest and a server: the server ends when pytest does, also by `kill -9`.

Run as `python guardian.py SPEC`, SPEC being JSON: `argv` and `popen` (Popen's keyword arguments) of the server,
`parent` (pytest's process id), `log`, `stop_signal`, and `folder`, deleted if pytest died: nobody else would. A watched
parent, not PR_SET_PDEATHSIG: that one fires when the starting thread ends, and is lost when a process changes its user.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

POLL_S = 0.05
GRACE_S = 10.0


def main() -> int:
    spec = json.loads(sys.argv[1])
    parent = spec["parent"]
    asked_to_stop = False

    def on_sigterm(_signal: int, _frame: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    signal.signal(signal.SIGTERM, on_sigterm)
    with open(spec["log"], "ab") as log:
        server = subprocess.Popen(spec["argv"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **spec["popen"])
    while server.poll() is None and not asked_to_stop and os.getppid() == parent:
        time.sleep(POLL_S)
    if server.poll() is None:
        server.send_signal(spec["stop_signal"])
        try:
            server.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    if os.getppid() != parent:
        shutil.rmtree(spec["folder"], ignore_errors=True)
    return server.returncode


if __name__ == "__main__":
    sys.exit(main())
