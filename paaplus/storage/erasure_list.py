"""The list of erased users, outside the database and its backups, so that a restore does not bring users back.

One small object per erased user, in a folder or in object storage. It holds the user's internal id, which is random and
never reused, and the time: nothing that identifies a person.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from paaplus.errors import Damaged, InvalidInput, Unavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore


@dataclass(frozen=True, slots=True)
class Erasure:
    """One entry of the list."""

    user_id: UUID
    erased_at: datetime


class ErasureList:
    """One process's access to the list.

    Args:
        url: like that of the blob storage, but another place, because a restore overwrites the blobs.

    Raises:
        InvalidInput: an unknown kind of storage, or a wrong configuration.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._store: ObjectStore = (
                LocalStore.from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
            )
        except (BaseError, OSError, ValueError) as error:
            raise InvalidInput(f"erasure list URL {url!r} cannot be used: {error}") from error

    def add(self, erasure: Erasure) -> None:
        """Write a user's entry, or replace it.

        Raises:
            Unavailable: the storage does not answer, or refuses.
        """
        entry = {"user_id": str(erasure.user_id), "erased_at": erasure.erased_at.isoformat()}
        try:
            obstore.put(self._store, f"{erasure.user_id}.json", json.dumps(entry).encode())
        except (BaseError, OSError) as error:
            raise Unavailable(f"the erasure list at {self.url} cannot be written: {error}") from error

    def __iter__(self) -> Iterator[Erasure]:
        """All entries, in no particular order.

        Raises:
            Unavailable: the storage does not answer.
            Damaged: an entry cannot be read. It is not skipped, because its user must stay erased.
        """
        try:
            names = [item["path"] for page in obstore.list(self._store) for item in page]
            documents = {name: bytes(obstore.get(self._store, name).bytes()) for name in names}
        except (BaseError, OSError) as error:
            raise Unavailable(f"the erasure list at {self.url} cannot be read: {error}") from error
        for name, document in documents.items():
            try:
                entry = json.loads(document)
                yield Erasure(UUID(entry["user_id"]), datetime.fromisoformat(entry["erased_at"]))
            except (ValueError, KeyError, TypeError) as error:
                raise Damaged(f"entry {name!r} of the erasure list at {self.url} cannot be read: {error}") from error
