"""`paaplus maintain`: delete what the deployment does not keep any longer."""

from __future__ import annotations

from dataclasses import asdict

from paaplus.cli.common import JsonOption, open_blobs, open_database, print_record
from paaplus.cli.lazy import lazy_imports
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.services.operations import retention


def maintain(as_json: JsonOption = False) -> None:
    """Delete old receipts that no feedback names, old finished jobs, old events and unfinished uploads.

    The platform may run meanwhile.
    """
    with open_database() as database:
        print_record(asdict(retention.apply(database, open_blobs(), get_settings())), as_json=as_json)
