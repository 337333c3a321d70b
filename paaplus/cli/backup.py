"""`paaplus backup` and `paaplus restore`: copy all data into one folder, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paaplus.cli.common import ACTOR, JsonOption, notices, open_blobs, open_database, print_record
from paaplus.cli.lazy import lazy_imports
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.services.operations import backup as backup_service


def backup(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")], as_json: JsonOption = False
) -> None:
    """Save all rows and files, as of one moment, while the platform runs."""
    with open_database() as database:
        report = backup_service.backup(database, open_blobs(), folder)
    for files, how in ((report.missing_blobs, "missing"), (report.damaged_blobs, "damaged")):
        if files:
            told = f"{len(files)} files that the database refers to are {how} in the storage, and not in the backup"
            notices.print(told, style="yellow", soft_wrap=True)
    print_record(
        {
            "folder": str(folder),
            "revision": report.revision,
            "rows": report.num_rows,
            "files": report.num_blobs,
            "missing_files": report.missing_blobs,
            "damaged_files": report.damaged_blobs,
        },
        as_json=as_json,
    )


def restore(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder that `paaplus backup` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Fill an empty database and storage from a backup, of this version or an older one; nothing may run meanwhile.

    Users who were erased after the backup are erased again; the list at PAAPLUS_ERASURES_URL names them.
    """
    settings = get_settings()
    backup_service.require_restorable(settings.resolved_database_url, folder)
    report = backup_service.restore(
        settings.resolved_database_url,
        open_blobs(),
        folder,
        erasures_url=settings.resolved_erasures_url,
        actor=ACTOR,
    )
    if report.num_erasures == 0:
        told = f"the list of erased users at {settings.resolved_erasures_url} is empty"
        notices.print(told, style="yellow", markup=False, soft_wrap=True)
    print_record(
        {
            "revision": report.revision,
            "rows": report.num_rows,
            "files": report.num_blobs,
            "erasures_on_the_list": report.num_erasures,
            "users_erased_again": [str(user_id) for user_id in report.erased_again],
        },
        as_json=as_json,
    )
