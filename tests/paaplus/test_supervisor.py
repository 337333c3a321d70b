"""The supervisor as a process of its own, with children of a few lines: restarted, given up, ended with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.processes import wait_until

SUPERVISOR = """
import os, sys
from pathlib import Path
from paaplus.supervisor import Child, Supervisor

folder, codes = Path(sys.argv[1]), sys.argv[2:]
children = [
    Child(f"child{i}", [sys.executable, "-c", code, str(folder / f"pids{i}")], folder / "logs" / f"child{i}.log")
    for i, code in enumerate(codes)
]
Supervisor(children, dict(os.environ)).run()
"""
NOTES_ITS_PID = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); "
LIVES = NOTES_ITS_PID + "time.sleep(600)"
DIES = NOTES_ITS_PID + "sys.exit('no luck')"
Supervise = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    """Start a supervisor of children that run this code; whatever is left of it ends with the test."""
    started = []

    def start(*codes: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), *codes]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
    for number in range(2):
        for pid in pids(tmp_path, number):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def pids(folder: Path, child: int) -> list[int]:
    """Every process that this child has been, oldest first."""
    file = folder / f"pids{child}"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    with suppress(FileNotFoundError):
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    return not status.parent.parent.exists()  # no /proc on this system: rely on the signal


def test_dead_child_is_restarted_and_the_others_stay(supervise: Supervise, tmp_path: Path) -> None:
    supervise(LIVES, LIVES)
    wait_until("both run", lambda: bool(pids(tmp_path, 0) and pids(tmp_path, 1)), 60)
    os.kill(pids(tmp_path, 0)[0], signal.SIGKILL)
    wait_until("the dead one runs again", lambda: len(pids(tmp_path, 0)) == 2, 60)
    assert is_alive(pids(tmp_path, 0)[1])
    assert len(pids(tmp_path, 1)) == 1
    assert is_alive(pids(tmp_path, 1)[0])


def test_child_that_keeps_dying_ends_all_and_its_log_is_named(supervise: Supervise, tmp_path: Path) -> None:
    supervisor = supervise(LIVES, DIES)
    _, stderr = supervisor.communicate(timeout=100)
    log = tmp_path / "logs" / "child1.log"
    assert supervisor.returncode == 1
    assert f"child1 died 6 times in 60 s (exit code 1); its log: {log}" in stderr
    assert log.read_text() == "no luck\n" * 6
    assert not is_alive(pids(tmp_path, 0)[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_supervisor_and_all_children(
    number: signal.Signals, supervise: Supervise, tmp_path: Path
) -> None:
    supervisor = supervise(LIVES, LIVES)
    wait_until("both run", lambda: bool(pids(tmp_path, 0) and pids(tmp_path, 1)), 60)
    supervisor.send_signal(number)
    assert supervisor.wait(60) == 0
    assert not any(is_alive(pid) for child in (0, 1) for pid in pids(tmp_path, child))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_supervisor_that_is_killed_takes_its_children_with_it(supervise: Supervise, tmp_path: Path) -> None:
    supervisor = supervise(LIVES, LIVES)
    wait_until("both run", lambda: bool(pids(tmp_path, 0) and pids(tmp_path, 1)), 60)
    supervisor.kill()
    wait_until(
        "the children are gone",
        lambda: not any(is_alive(pid) for child in (0, 1) for pid in pids(tmp_path, child)),
        10,
    )


def test_children_start_when_it_is_their_turn(tmp_path: Path) -> None:
    """The one that waits loads before the platform is prepared, and works after; the late one starts at the end.

    A child that waits and is started again works at once.
    """
    notes = tmp_path / "notes"
    child = "import sys, time; note = lambda word: open(sys.argv[1], 'a').write(word + ' '); "
    codes = {
        "waits": child + "note('loaded'); sys.stdin.readline(); note('works'); "
        "open(sys.argv[1]).read().count('works') == 1 and sys.exit(); time.sleep(600)",
        "usual": child + "time.sleep(.2); note('usual'); time.sleep(600)",
        "late": child + "note('late'); time.sleep(600)",
    }
    program = f"""
import os, sys, time
from pathlib import Path
from paaplus.supervisor import Child, Supervisor
notes = Path(sys.argv[1])
def child(name, code, **when):
    return Child(name, [sys.executable, "-c", code, str(notes)], notes.with_name(name), **when)
codes = {codes!r}
children = [child("late", codes["late"], is_late=True), child("usual", codes["usual"]),
            child("waits", codes["waits"], waits=True)]
def has(*words):
    return notes.exists() and set(words) <= set(notes.read_text().split())
def prepare():
    while not has("loaded"):
        time.sleep(.01)
    notes.open("a").write("prepared ")
Supervisor(children, dict(os.environ), is_ready=lambda: has("works", "usual")).run(prepare)
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(notes)])
    try:
        wait_until("all work", lambda: notes.exists() and notes.read_text().count("works") == 2, 60)
        wait_until("the late one has started", lambda: "late" in notes.read_text(), 60)
    finally:
        process.terminate()
        process.wait(60)
    words = notes.read_text().split()
    assert words[:2] == ["loaded", "prepared"]
    assert words.index("late") > max(words.index("works"), words.index("usual"))
    assert sorted(words[2:]) == ["late", "loaded", "usual", "works", "works"]


def test_what_cannot_be_prepared_ends_the_child_that_waits(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from paaplus.supervisor import Child, Supervisor
child = Child("api", [sys.executable, "-c", "import sys; sys.stdin.readline()"], Path(sys.argv[1]), waits=True)
def prepare():
    print(child.process.pid, flush=True)
    sys.exit("not today")
Supervisor([child], dict(os.environ)).run(prepare)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "log")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "not today\n")
    assert not is_alive(int(done.stdout))


def test_readiness_is_told_once_and_not_before(tmp_path: Path) -> None:
    """A child that answers 503 at first, as an API without its database does."""
    server = """
import http.server, sys, time
started = time.monotonic()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if time.monotonic() - started > 1 else 503)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
    program = f"""
import os, sys, time
from pathlib import Path
from paaplus.processes import url_of, usable_port
from paaplus.supervisor import Child, Supervisor, answers
port = usable_port("127.0.0.1", 0)
url = url_of("127.0.0.1", port)
started = time.monotonic()
asked = []
def is_ready():
    asked.append(answers(url))
    return asked[-1]
def tell():
    print("ready", asked.count(True), asked.count(False) > 0, flush=True)
child = Child("api", [sys.executable, "-c", {server!r}, str(port)], Path(sys.argv[1]) / "api.log")
Supervisor([child], dict(os.environ), is_ready=is_ready, when_ready=tell).run()
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready 1 True\n"
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=100)
    assert rest == ""
