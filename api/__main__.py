"""`python -m paaplus.api`: serve on the host and port of the settings, with uvloop and httptools."""

from __future__ import annotations

import gc

import uvicorn

from paaplus import logs
from paaplus.api.app import create_app
from paaplus.settings import get_settings


def main() -> None:
    """Serve until stopped. Several processes: `uvicorn paaplus.api.app:app --workers N`."""
    settings = get_settings()
    logs.configure(settings.log_level)  # before the server writes its first line
    app = create_app(settings)
    # Thousands of small objects live as long as the process: looking through them again and again is what
    # makes the slowest hundredth of the requests slow.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
    )


if __name__ == "__main__":
    main()
