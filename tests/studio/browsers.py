"""A real browser for the studio's tests: Debian's Chromium, which Playwright drives by its path."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

SCREENS: Final = os.environ.get("PAAPLUS_TEST_SCREENS")  # a folder for pictures of the pages; None: none are made
SETTLED_MS: Final = 1_200  # after which nothing moves any more on a page that is to be pictured
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def missing() -> str | None:
    """What keeps browser tests from running here; None: nothing."""
    if find_spec("playwright") is None:
        return "the package playwright is not installed: pip install -e '.[dev]'"
    if chromium() is None:
        return "no chromium on the path: apt-get install chromium"
    return None


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Screen:
    """One person's browser, with nothing of anybody else's in it. A script error in any page fails the test."""

    def __init__(self, browser: Any, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=width < 500, locale="en-US"
        )
        self.context.set_default_timeout(90_000)
        self.errors: list[str] = []
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self._note(message))

    def _note(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:  # refused requests are asked for
            self.errors.append(message.text)

    def shoot(self, name: str) -> None:
        """Make a picture of the page for people to look at, where there is a folder for it: no test reads it."""
        if SCREENS:
            Path(SCREENS).mkdir(parents=True, exist_ok=True)
            self.page.wait_for_timeout(SETTLED_MS)
            self.page.screenshot(path=str(Path(SCREENS, f"{name}.png")))

    def settle(self) -> None:
        """Wait until the page has what it asked for. An event stream stays open, so the network is never idle."""
        self.page.wait_for_function(
            "() => document.readyState === 'complete' && !document.querySelector('main [aria-busy=true]')"
        )

    def ask(self, path: str) -> Any:
        """What the page's own scripts are answered."""
        return self.page.evaluate("path => fetch(path).then(answer => answer.json())", path)

    def status(self, path: str) -> int:
        return int(self.page.evaluate("path => fetch(path).then(answer => answer.status)", path))

    def close(self) -> None:
        self.context.close()
        assert self.errors == []
