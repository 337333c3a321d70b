"""Import a folder: each new photograph is decoded once, scaled down, and stored as an image of the user.

Nothing that was done is lost when the process is killed: a photograph is stored in one transaction, and then noted in
the catalogue. The originals are only read.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from paaplus.db.tables import ImageRow
from paaplus.errors import InvalidInput, PaaplusError
from paaplus.ids import sha256_hex
from paaplus.image_files import MAX_DECODING_BYTES, Photograph, PhotographLimits, decode_photograph
from paaplus.photos.bursts import look_of
from paaplus.photos.catalogue import Catalogue, Known
from paaplus.photos.folder import PhotoFile
from paaplus.photos.platform import LocalPlatform
from paaplus.services import names
from paaplus.services.images import sanitize, uploads

STORED_SIDE_PX: Final = 1024  # of the stored picture; no base model looks at more than half of it
NUM_THREADS: Final = 2
_AHEAD: Final = 2 * NUM_THREADS  # files that are decoded, or wait for it, while one is stored

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """A folder after its import: what is known of each file that was stored, and why the others were refused."""

    known: list[tuple[PhotoFile, Known]]
    refused: list[tuple[PhotoFile, str]]
    num_new: int

    @property
    def image_ids(self) -> list[UUID]:
        """The images, each once, in order of the files."""
        return list(dict.fromkeys(known.image_id for _, known in self.known if known.image_id is not None))


@dataclass(frozen=True, slots=True)
class _Read:
    content: str
    photograph: Photograph | None = None
    refusal: str | None = None
    is_final: bool = False  # the same file is refused again


def import_files(platform: LocalPlatform, files: Sequence[PhotoFile], on_progress: OnProgress) -> Imported:
    """Import those files that are new or have changed.

    A file that cannot be used is refused, with the reason; the others are imported.

    Raises:
        Unavailable: the storage does not answer.
    """
    known: list[tuple[PhotoFile, Known]] = []
    refused: list[tuple[PhotoFile, str]] = []
    limits = PhotographLimits(STORED_SIDE_PX, min_side_px=platform.settings.min_image_side_px)
    with Catalogue(catalogue_of(platform)) as catalogue:
        catalogue.forget_images(_existing(platform, catalogue.image_ids))
        new = [file for file in files if catalogue.of_file(file) is None]
        is_new = {file.name for file in new}
        on_progress(0, len(new))
        for number, (file, read) in enumerate(_reading(new, catalogue, limits), 1):
            if (before := catalogue.of_content(read.content)) is not None:
                catalogue.add(before.at(file))
            elif read.photograph is not None:
                catalogue.add(_stored(platform, file, read))
            elif read.is_final:
                catalogue.add(_noted(file, read))
            else:
                refused.append((file, read.refusal or ""))
            on_progress(number, len(new))
        for file in files:
            found = catalogue.of_file(file)
            if found is not None and found.image_id is not None:
                known.append((file, found))
            elif found is not None:
                refused.append((file, found.refusal or ""))
    return Imported(known, refused, len(is_new))


def catalogue_of(platform: LocalPlatform) -> Path:
    """The file of the user's catalogue."""
    return platform.home / f"{platform.user_id}.jsonl"


def _existing(platform: LocalPlatform, image_ids: set[UUID]) -> set[UUID]:
    if not image_ids:
        return set()
    with platform.database.read_session() as session:
        return set(session.execute(sa.select(ImageRow.id).where(ImageRow.owner_id == platform.user_id)).scalars())


def _reading(
    files: Sequence[PhotoFile], catalogue: Catalogue, limits: PhotographLimits
) -> Iterator[tuple[PhotoFile, _Read]]:
    """Read files in a few threads, in their order, a few ahead of the one that is stored."""
    memory = _SharedMemory(MAX_DECODING_BYTES)
    waiting: deque[tuple[PhotoFile, Future[_Read]]] = deque()
    with ThreadPoolExecutor(NUM_THREADS, "photographs") as threads:
        try:
            for file in files:
                waiting.append((file, threads.submit(_read, file, catalogue, limits, memory)))
                if len(waiting) > _AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _read(file: PhotoFile, catalogue: Catalogue, limits: PhotographLimits, memory: _SharedMemory) -> _Read:
    content = ""
    try:
        with file.path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        if catalogue.of_content(content) is not None:
            return _Read(content)
        return _Read(content, decode_photograph(file.path, limits, memory.reserve))
    except InvalidInput as error:
        return _Read(content, refusal=str(error), is_final=True)
    except (PaaplusError, OSError) as error:
        return _Read(content, refusal=str(error))
    except MemoryError:
        return _Read(content, refusal="there is not enough memory to decode it now")


def _stored(platform: LocalPlatform, file: PhotoFile, read: _Read) -> Known:
    """Store a photograph. If the user has an image of the same pixels, it is that one: only metadata have changed."""
    assert read.photograph is not None
    picture = sanitize.of_photograph(read.photograph.image, read.content)
    with platform.database.read_session() as session:
        same = session.execute(
            sa.select(ImageRow.id)
            .where(ImageRow.owner_id == platform.user_id, ImageRow.sha256 == sha256_hex(picture.data))
            .limit(1)
        ).scalar_one_or_none()
    image_id = (
        same
        or uploads.add_picture(
            platform.database,
            platform.blobs,
            platform.settings,
            application=names.HOME_APPLICATION,
            owner_id=platform.user_id,
            picture=picture,
            name=file.name,
        ).row.id
    )
    return Known(
        str(file.path.absolute()),
        file.size_bytes,
        file.mtime_ns,
        read.content,
        image_id,
        taken_at=read.photograph.taken_at,
        look=look_of(read.photograph.image),
        width_px=read.photograph.width_px,
        height_px=read.photograph.height_px,
    )


def _noted(file: PhotoFile, read: _Read) -> Known:
    return Known(str(file.path.absolute()), file.size_bytes, file.mtime_ns, read.content, refusal=read.refusal)


class _SharedMemory:
    """A bound on the memory that several threads use for decoding at the same time."""

    def __init__(self, max_bytes: int) -> None:
        self._free = max_bytes
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, num_bytes: int) -> Iterator[None]:
        """Wait until so much is free, and take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= num_bytes)
            self._free -= num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._free += num_bytes
                self._changed.notify_all()
