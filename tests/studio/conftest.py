"""One platform for all browser tests: API, scheduler and worker as processes, with the starter base model."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from paaplus.db.engine import Database
from paaplus.processes import api_command
from paaplus.services.registry import starter
from paaplus.services.users import keys, sessions, users
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.studio import browsers
from tests.studio.browsers import Screen
from tests.support.processes import Service, start_scheduler, start_worker, wait_until


class Studio:
    """The running platform, and what an operator would do to it."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.settings, self.url = settings, url
        self.database = Database(settings.resolved_database_url)
        self.worker: Service | None = None

    def start_worker(self) -> None:
        self.worker = start_worker(self.settings)

    def stop_worker(self) -> None:
        if self.worker is not None:
            self.worker.stop()
            self.worker = None

    def admin_link(self) -> str:
        """What `paaplus up` prints."""
        with self.database.session() as session:
            return f"{self.url}/studio/enter?code={sessions.operator_link(session)}"

    def user(self, name: str, application: str = "home", **policy: Any) -> UUID:
        with self.database.session() as session:
            user, _ = users.create(session, application=application, external_id=name)
            users.set_policy(session, user.id, policy, actor="test")
            return user.id

    def user_link(self, user_id: UUID, *, as_expert: bool = False) -> str:
        with self.database.session() as session:
            code = sessions.invite(session, user_id, actor=keys.OPERATOR.actor, as_expert=as_expert)
            return f"{self.url}/studio/enter?code={code}"


@pytest.fixture(scope="package")  # tests/support/tiers.py gives all files of this folder to one test process
def studio(
    tmp_path_factory: pytest.TempPathFactory, migrate_sqlite: Callable[[str], None], features_cache: Path
) -> Iterator[Studio]:
    home, port = tmp_path_factory.mktemp("studio"), free_port()
    (home / "cache").symlink_to(features_cache)
    settings = Settings(home=home, scan_interval_s=0.5)
    migrate_sqlite(settings.resolved_database_url)
    running = Studio(settings, f"http://127.0.0.1:{port}")
    starter.ensure(running.database, BlobStore(settings.resolved_storage_url), settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAAPLUS_API_PORT", str(port))
        services = [Service("api", api_command(), settings, forked=True), start_scheduler(settings)]
    try:
        running.start_worker()
        wait_until("the API answers", lambda: _answers(f"{running.url}/readyz"), 240)
        yield running
    finally:  # nobody waits for what is left to do: an API that is told to stop lets its streams end
        for service in [*services, *([running.worker] if running.worker else [])]:
            service.kill()
        running.database.dispose()


@contextmanager
def second_api(studio: Studio, **variables: str) -> Iterator[str]:
    """One more API process with the same database, and other settings; its address on this machine."""
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**variables, "PAAPLUS_API_PORT": str(port)}.items():
            patch.setenv(name, value)
        service = Service(f"api-{port}", api_command(), studio.settings, forked=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until("the second API answers", lambda: _answers(f"{url}/readyz"), 240)
        yield url
    finally:
        service.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="package")  # while it lives, no other event loop can run in this thread
def browser() -> Iterator[Any]:
    if reason := browsers.missing():
        pytest.skip(f"browser tests: {reason}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browsers.chromium(), args=list(browsers.FLAGS))
        yield started
        started.close()


@pytest.fixture
def open_screen(browser: Any) -> Iterator[Callable[..., Screen]]:
    opened: list[Screen] = []

    def open_one(**options: Any) -> Screen:
        opened.append(Screen(browser, **options))
        return opened[-1]

    yield open_one
    for screen in opened:
        screen.close()


@pytest.fixture
def screen(open_screen: Callable[..., Screen]) -> Screen:
    return open_screen()


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Built-in photographs as files in a folder."""
    from paaplus.studio import tour

    folder = tmp_path_factory.mktemp("photographs")
    files = []
    for picture in tour.pictures()[: tour.NUM_PHOTOGRAPHS]:
        file = folder / f"{picture.name}.jpg"
        picture.load(480).save(file, "JPEG")
        files.append(file)
    return files
