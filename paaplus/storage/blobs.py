"""Blobs named by the SHA-256 of their bytes, in a local folder or in object storage (S3, GCS, Azure).

Writing a blob is atomic. A blob never changes. Reading checks its bytes against its name. What is *derived* from a
blob, for example a thumbnail, is deleted with it; it can be made again.

Bytes that a transaction will name are *staged* before it begins, because writing them takes longer than a lock should
be held. The transaction only gives them the blob's name. They stay staged until it has ended: what a killed process
leaves is found, with the person whose it is.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from paaplus.errors import Damaged, InvalidInput, NotFound, Unavailable
from paaplus.ids import new_id, sha256_hex

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_SHA256 = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_DIGEST_BYTES = hashlib.sha256().digest_size
_STAGING: Final = "staging"
_SHARED: Final = "shared"
_STAGED = re.compile(rf"{_STAGING}/({_SHARED}|[0-9a-f]{{32}})-([0-9a-f]{{64}})-[0-9a-f]{{32}}")


@dataclass(frozen=True, slots=True)
class Staged:
    """Bytes whose transaction has not ended. `owner_id`: the user whose they are, if anyone's."""

    path: str
    sha256: str
    owner_id: UUID | None


class BlobStore:
    """One process's access to the storage.

    Args:
        url: `file:///folder` (created if missing), `s3://bucket/prefix`, `gs://bucket/prefix` or
            `az://container/prefix`. Credentials come from the environment, as each provider names them.

    Raises:
        InvalidInput: an unknown kind of storage, or a wrong configuration.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            # Only a missing folder is created; an operator creates buckets.
            self._store: ObjectStore = (
                LocalStore.from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
            )
        except (BaseError, OSError, ValueError) as error:
            raise InvalidInput(f"storage URL {url!r} cannot be used: {_first_line(error)}") from error

    def put(self, data: bytes) -> str:
        """Store the bytes, if they are not stored already; returns their SHA-256. A damaged blob is replaced.

        Raises:
            Unavailable: the storage does not answer, or refuses.
        """
        sha256 = sha256_hex(data)
        try:
            obstore.put(self._store, _path(sha256), data, mode="create")
        except AlreadyExistsError:
            if not self.is_intact(sha256):
                self._replace(sha256, data)
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot keep blob {sha256}: {_first_line(error)}") from error
        return sha256

    def _replace(self, sha256: str, data: bytes) -> None:
        try:
            obstore.put(self._store, _path(sha256), data, mode="overwrite")
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot repair blob {sha256}: {_first_line(error)}") from error

    def stage(self, data: bytes, owner_id: UUID | None) -> Staged:
        """Write bytes that a transaction will `adopt`; `unstage` them when it has ended, however it did.

        Raises:
            Unavailable: the storage does not answer, or refuses.
        """
        sha256 = sha256_hex(data)
        path = _staged_path(sha256, owner_id)
        try:
            obstore.put(self._store, path, data)
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot keep blob {sha256}: {_first_line(error)}") from error
        return Staged(path, sha256, owner_id)

    def adopt(self, staged: Staged) -> None:
        """Make a blob of staged bytes, in place of a damaged one too. In a folder it is a link: no byte is written.

        Raises:
            Unavailable: the storage does not answer, or the bytes were deleted because they were staged for too long.
        """
        try:
            if isinstance(self._store, LocalStore):
                _link(Path(str(self._store.prefix)), staged)
            else:
                obstore.copy(self._store, staged.path, _path(staged.sha256), overwrite=True)
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot keep blob {staged.sha256}: {_first_line(error)}") from error

    def unstage(self, staged: Staged) -> None:
        """Delete staged bytes, if they are still there; a blob that was made of them stays.

        Raises:
            Unavailable: the storage does not answer, or refuses.
        """
        try:
            with suppress(FileNotFoundError):
                obstore.delete(self._store, staged.path)
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot delete what was staged: {_first_line(error)}") from error

    def list_staged(self, *, before: datetime | None = None) -> list[Staged]:
        """What is staged, of uploads in progress and of processes that were killed.

        Args:
            before: only what was staged before this moment, by the storage's clock.

        Raises:
            Unavailable: the storage does not answer.
        """
        try:
            found = [meta for batch in obstore.list(self._store, _STAGING) for meta in batch]
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot list what is staged: {_first_line(error)}") from error
        staged = []
        for meta in found:
            match = _STAGED.fullmatch(meta["path"])
            if match is not None and (before is None or meta["last_modified"] < before):
                owner, sha256 = match.groups()
                staged.append(Staged(meta["path"], sha256, None if owner == _SHARED else UUID(owner)))
        return staged

    def is_intact(self, sha256: str) -> bool:
        """Whether there is such a blob and its bytes have this digest.

        Raises:
            Unavailable: the storage does not answer.
        """
        try:
            self.get(sha256)
        except (Damaged, NotFound):
            return False
        return True

    def get(self, sha256: str) -> bytes:
        """Read a blob.

        Raises:
            NotFound: there is no such blob.
            Damaged: the stored bytes have another digest.
            Unavailable: the storage does not answer.
        """
        try:
            data = bytes(obstore.get(self._store, _path(sha256)).bytes())
        except FileNotFoundError as error:
            raise NotFound(f"blob {sha256} does not exist") from error
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot read blob {sha256}: {_first_line(error)}") from error
        if (found := sha256_hex(data)) != sha256:
            raise Damaged(f"blob {sha256} is damaged: its {len(data)} bytes hash to {found}")
        return data

    def exists(self, sha256: str) -> bool:
        """Whether there is such a blob.

        Raises:
            Unavailable: the storage does not answer.
        """
        try:
            obstore.head(self._store, _path(sha256))
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot look for blob {sha256}: {_first_line(error)}") from error
        return True

    def delete(self, sha256: str) -> None:
        """Delete a blob, if it exists, and everything derived from it.

        Raises:
            Unavailable: the storage does not answer, or refuses.
        """
        try:
            derived = [meta["path"] for batch in obstore.list(self._store, _derived_folder(sha256)) for meta in batch]
            for path in (*derived, _path(sha256)):
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, path)
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot delete blob {sha256}: {_first_line(error)}") from error

    def put_derived(self, sha256: str, kind: str, data: bytes) -> None:
        """Store what was made from a blob; what was stored before under this kind is replaced.

        Args:
            kind: what it is: lower-case letters, digits, dots and dashes.

        Raises:
            Unavailable: the storage does not answer, or refuses.
        """
        try:
            obstore.put(self._store, _derived_path(sha256, kind), hashlib.sha256(data).digest() + data)
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot keep {kind} of blob {sha256}: {_first_line(error)}") from error

    def get_derived(self, sha256: str, kind: str) -> bytes | None:
        """What was made from a blob; None: nothing is stored, or its bytes have changed.

        Raises:
            Unavailable: the storage does not answer.
        """
        try:
            stored = bytes(obstore.get(self._store, _derived_path(sha256, kind)).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise Unavailable(f"storage cannot read {kind} of blob {sha256}: {_first_line(error)}") from error
        digest, data = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        return data if hashlib.sha256(data).digest() == digest else None


def _link(folder: Path, staged: Staged) -> None:
    """In this thread: the library would hand it to another one, for which the caller waits with a lock in hand."""
    source, target = folder / staged.path, folder / _path(staged.sha256)
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        second = folder / _staged_path(staged.sha256, staged.owner_id)  # found as staged if the process ends here
        os.link(source, second)
        second.replace(target)


def _path(sha256: str) -> str:
    """The blob's path; two characters make a folder, to keep folders small. The name is checked against traversal."""
    if not _SHA256.fullmatch(sha256):
        raise InvalidInput(f"{sha256!r} is not a SHA-256 in lower-case hex")
    return f"{sha256[:2]}/{sha256}"


def _staged_path(sha256: str, owner_id: UUID | None) -> str:
    """A new one."""
    return f"{_STAGING}/{owner_id.hex if owner_id is not None else _SHARED}-{sha256}-{new_id().hex}"


def _derived_folder(sha256: str) -> str:
    return f"derived/{_path(sha256)}"


def _derived_path(sha256: str, kind: str) -> str:
    if not _KIND.fullmatch(kind):
        raise InvalidInput(f"{kind!r} is no kind of derived file")
    return f"{_derived_folder(sha256)}/{kind}"


def _first_line(error: Exception) -> str:
    # obstore appends a multi-line dump of its internals.
    return (str(error).splitlines() or [type(error).__name__])[0]
