"""Blobs: stored under the digest of their bytes, complete, and nowhere else."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from paaplus.db.types import utcnow
from paaplus.errors import Damaged, InvalidInput, NotFound, Unavailable
from paaplus.ids import new_id
from paaplus.storage.blobs import BlobStore

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """Local folder, and obstore's own memory store, which behaves as object storage does."""
    return BlobStore((tmp_path / "a folder" / "blobs").as_uri() if request.param == "file" else "memory:///")


def test_blob_comes_back_under_its_sha256(blobs: BlobStore) -> None:
    assert blobs.put(b"abc") == ABC
    assert blobs.get(ABC) == b"abc"
    assert blobs.exists(ABC)


def test_put_changes_nothing_when_the_blob_is_there(blobs: BlobStore) -> None:
    assert blobs.put(b"abc") == blobs.put(b"abc") == ABC
    assert blobs.get(ABC) == b"abc"


@pytest.mark.slow
def test_large_blob_survives_many_writers_at_once(blobs: BlobStore) -> None:
    data = bytes(range(256)) * (48 * 1024)  # 12 MiB: several parts where the storage has parts
    with ThreadPoolExecutor(8) as threads:
        names = set(threads.map(lambda _: blobs.put(data), range(16)))
    assert names == {hashlib.sha256(data).hexdigest()}
    assert blobs.get(names.pop()) == data


def test_missing_blob_is_not_found(blobs: BlobStore) -> None:
    assert not blobs.exists(ABC)
    with pytest.raises(NotFound, match=ABC):
        blobs.get(ABC)


def test_deleted_blob_is_gone_and_deleting_again_does_nothing(blobs: BlobStore) -> None:
    blobs.put(b"abc")
    blobs.delete(ABC)
    blobs.delete(ABC)
    assert not blobs.exists(ABC)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", ABC.upper(), ABC[:-1], ABC + "/.."])
def test_name_that_is_no_digest_is_refused(blobs: BlobStore, name: str) -> None:
    for act in (blobs.get, blobs.exists, blobs.delete):
        with pytest.raises(InvalidInput, match="SHA-256"):
            act(name)


def test_damaged_blob_is_never_served(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path.as_uri())
    blobs.put(b"abc")
    (tmp_path / ABC[:2] / ABC).write_bytes(b"abd")
    with pytest.raises(Damaged, match="hash to"):
        blobs.get(ABC)


@pytest.mark.parametrize("rotten", [b"abd", b"ab", b""])
def test_writing_the_same_bytes_again_repairs_a_damaged_blob(tmp_path: Path, rotten: bytes) -> None:
    blobs = BlobStore(tmp_path.as_uri())
    blobs.put(b"abc")
    (tmp_path / ABC[:2] / ABC).write_bytes(rotten)
    assert not blobs.is_intact(ABC)
    assert blobs.put(b"abc") == ABC
    assert blobs.get(ABC) == b"abc"
    assert blobs.is_intact(ABC)
    assert not blobs.is_intact("0" * 64), "there is none"


def test_storage_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    blobs = BlobStore((tmp_path / "blobs").as_uri())
    (tmp_path / "blobs" / ABC[:2]).write_bytes(b"a file where a folder should be")
    with pytest.raises(Unavailable, match=ABC):
        blobs.put(b"abc")


@pytest.mark.parametrize("url", ["ftp://somewhere/else", "nonsense", "", "file:///proc/no/such"])
def test_url_that_cannot_be_storage_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="storage URL"):
        BlobStore(url)


def test_what_is_derived_from_a_blob_goes_with_it(blobs: BlobStore) -> None:
    blobs.put(b"abc")
    other = blobs.put(b"other")
    assert blobs.get_derived(ABC, "thumbnail-1.jpeg") is None
    for sha256 in (ABC, other):
        blobs.put_derived(sha256, "thumbnail-1.jpeg", b"old")
        blobs.put_derived(sha256, "thumbnail-1.jpeg", b"small")
        blobs.put_derived(sha256, "thumbnail-2.jpeg", b"")
    assert [blobs.get_derived(ABC, f"thumbnail-{n}.jpeg") for n in (1, 2)] == [b"small", b""]
    blobs.delete(ABC)
    assert [blobs.get_derived(ABC, f"thumbnail-{n}.jpeg") for n in (1, 2)] == [None, None]
    assert blobs.get_derived(other, "thumbnail-1.jpeg") == b"small"
    for kind in ("", "..", "a/b", "A", "a."):
        with pytest.raises(InvalidInput, match="kind"):
            blobs.put_derived(ABC, kind, b"")


def test_derived_file_that_has_changed_is_as_none(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path.as_uri())
    blobs.put_derived(ABC, "thumbnail", b"small")
    [file] = [path for path in tmp_path.rglob("thumbnail") if path.is_file()]
    file.write_bytes(file.read_bytes()[:-1] + b"L")
    assert blobs.get_derived(ABC, "thumbnail") is None


def test_staged_bytes_are_no_blob_until_they_are_adopted(blobs: BlobStore) -> None:
    anna = new_id()
    staged = blobs.stage(b"abc", anna)
    assert (staged.sha256, staged.owner_id, blobs.list_staged()) == (ABC, anna, [staged])
    assert not blobs.exists(ABC)
    blobs.adopt(staged)
    assert (blobs.get(ABC), blobs.list_staged()) == (b"abc", [staged])
    for _ in range(2):
        blobs.unstage(staged)
        assert (blobs.get(ABC), blobs.list_staged()) == (b"abc", [])


def test_what_was_staged_lately_is_told_apart_from_what_is_left(blobs: BlobStore) -> None:
    shared = blobs.stage(b"abc", None)
    assert shared.owner_id is None
    assert blobs.list_staged(before=utcnow() - timedelta(hours=1)) == []
    assert blobs.list_staged(before=utcnow() + timedelta(hours=1)) == [shared]


def test_bytes_that_are_staged_no_longer_are_not_adopted(blobs: BlobStore) -> None:
    staged = blobs.stage(b"abc", None)
    blobs.unstage(staged)
    with pytest.raises(Unavailable, match=ABC):
        blobs.adopt(staged)
    assert not blobs.exists(ABC)


def test_adopted_bytes_replace_a_damaged_blob_and_leave_nothing_staged_twice(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path.as_uri())
    blobs.put(b"abc")
    (tmp_path / ABC[:2] / ABC).write_bytes(b"abd")
    staged = blobs.stage(b"abc", None)
    blobs.adopt(staged)
    blobs.unstage(staged)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / ABC[:2] / ABC]
    assert blobs.get(ABC) == b"abc"


def test_many_adopt_the_same_bytes_at_once(blobs: BlobStore) -> None:
    staged = [blobs.stage(b"abc", None) for _ in range(16)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(blobs.adopt, staged))
    assert blobs.get(ABC) == b"abc"
    assert sorted(blobs.list_staged(), key=lambda each: each.path) == sorted(staged, key=lambda each: each.path)
