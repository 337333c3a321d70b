"""What a refused key costs the API: processor ms a request of a key that is none, new each time and repeated.

    python benchmarks/unknown_keys.py [--requests 1500]

It starts an API of its own on 127.0.0.1, with SQLite and no limit of failed attempts, and asks one request after
the other. Processor time is that of the API's process, from the operating system. Beside it: a text that no key looks
like, which is refused by its form, and a valid key.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
from abuse import HOST, prepare

from paaplus.processes import url_of, usable_port
from paaplus.settings import Settings
from paaplus.supervisor import answers


def processor_s(pid: int) -> float:
    """Seconds of the processor, of the program and the system, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def random_key() -> str:
    return f"paa_{random.getrandbits(172):043x}"  # of the form of a key


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="paaplus-keys-") as folder:
        valid, port, same = prepare(Settings(home=Path(folder)))["other"], usable_port(HOST, 0), random_key()
        url = url_of(HOST, port)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PAAPLUS_")} | {
            "PAAPLUS_HOME": folder,
            "PAAPLUS_API_PORT": str(port),
            "PAAPLUS_FAILED_ATTEMPTS_PER_MINUTE": "0",
        }
        with (Path(folder) / "api.log").open("wb") as log:
            api = subprocess.Popen([sys.executable, "-m", "paaplus.api"], env=environment, stdout=log, stderr=log)
        try:
            with httpx2.Client(base_url=url) as client:
                while not answers(f"{url}/readyz"):
                    if api.poll() is not None:
                        raise SystemExit((Path(folder) / "api.log").read_text()[-2000:])
                    time.sleep(0.2)
                kinds: dict[str, Callable[[], str]] = {
                    "new each time": random_key,
                    "the same": lambda: same,
                    "no key by its form": lambda: "x" * 47,
                    "valid": lambda: valid,
                }
                for _ in range(200):
                    client.get("/v1/users/victim", headers={"Authorization": f"Bearer {random_key()}"})
                for kind, token in kinds.items():
                    began = processor_s(api.pid)
                    for _ in range(options.requests):
                        client.get("/v1/users/victim", headers={"Authorization": f"Bearer {token()}"})
                    spent = 1000 * (processor_s(api.pid) - began) / options.requests
                    print(f"{kind:20} {spent:6.2f} processor ms a request, load {os.getloadavg()[0]:.1f}", flush=True)
        finally:
            api.terminate()
            api.wait()


if __name__ == "__main__":
    main()
