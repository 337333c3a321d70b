"""Where the platform of a home listens: `paaplus up` notes it, so that other commands with this home find it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from paaplus.processes import url_of
from paaplus.settings import Settings
from paaplus.whole_files import write_atomically

_FILE: Final = "address"


@contextmanager
def noted(home: Path, url: str) -> Iterator[None]:
    """Note the address of a platform while it runs."""
    file = home / _FILE
    write_atomically(file, f"{url}\n".encode())
    try:
        yield
    finally:
        if _read(file) == url:  # not that of a platform that was started meanwhile
            file.unlink(missing_ok=True)


def addresses(settings: Settings) -> list[str]:
    """Where a platform with this home may listen, likeliest first: as noted, then as the settings say.

    A platform that was killed leaves its note, so whoever uses an address asks there first.
    """
    found = [_read(settings.home / _FILE), url_of(settings.api_host, settings.api_port)]
    return list(dict.fromkeys(url for url in found if url))


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
