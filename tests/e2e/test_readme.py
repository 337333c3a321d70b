"""The README's tour, pasted into a shell beside `paaplus up`, does what the README says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tour() -> str:
    found = re.search(r"<!-- tour -->\n```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, "the README has no tour"
    return found.group(1)


def tour_in_python() -> str:
    found = re.search(r"<!-- tour in Python -->\n```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, "the README has no tour in Python"
    return found.group(1)


def wait_for(url: str, process: subprocess.Popen[bytes], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert process.poll() is None, "paaplus up has ended"
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.5)


def shown(output: str) -> list[dict[str, float]]:
    """The scores of coffee and rocket, each time that the tour shows them."""
    scores = [(name, float(score)) for name, score in re.findall(r"^(coffee|rocket) ([\d.]+)$", output, re.MULTILINE)]
    return [dict(scores[place : place + 2]) for place in range(0, len(scores), 2)]


@pytest.mark.timeout(420)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour needs curl")
def test_tour_pasted_beside_paaplus_up_gives_a_personal_order_and_takes_it_back(
    tmp_path: Path, features_cache: Path
) -> None:
    bin_folder = Path(sys.executable).parent
    # the tour's paths are relative to the project: a folder that looks like it, with a home of its own
    (tmp_path / ".venv").symlink_to(bin_folder.parent)
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "cache").symlink_to(features_cache)  # networks that another test has compiled
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    with (tmp_path / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [bin_folder / "paaplus", "up", "--port", "0"], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 60  # nothing is trained first
        while not (address := re.search(r"on (http://\S+)", (tmp_path / "up.log").read_text())):
            assert up.poll() is None, (tmp_path / "up.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        wait_for(f"{address.group(1)}/readyz", up, 60)
        script = (
            (tour() + "echo in Python\n" + tour_in_python())
            .replace("http://127.0.0.1:8000", address.group(1))
            .replace("/tmp/", f"{tmp_path}/")
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert '"source":"adapter"' in done.stdout
        with_curl, with_client = done.stdout.split("in Python\n")
        before, taught, after = shown(with_curl)
        assert before["coffee"] < before["rocket"], "what README.md says of everybody's order"
        assert taught["coffee"] > taught["rocket"] + 0.5
        assert after == before, done.stdout + done.stderr
        assert "rolled_back" not in done.stdout, "the history is printed before the rollback"
        assert with_curl.rstrip().endswith("base")
        plain, learned = shown(with_client)
        assert plain == pytest.approx(before)
        assert learned["coffee"] > learned["rocket"] + 0.5, "the same ratings by the client; others are held out"
        assert "Promoted" in with_client
        assert re.search(r"^1 \w+ [\d.]+ \(for everybody number \d+\)$", with_client, re.MULTILINE)
    finally:
        up.terminate()
        up.wait(60)
    leftovers = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert leftovers == "", "paaplus up left processes behind"
