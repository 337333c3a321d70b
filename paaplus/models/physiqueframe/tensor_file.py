"""Read a weights file one tensor at a time, so that a model is in memory only once, without running any code in it.

Two formats are read by file position: `.safetensors`, and the zip archives that `torch.save` writes. The index of an
archive is unpickled by torch's `weights_only` into tensors without content. The archive's checksums are verified.
"""

from __future__ import annotations

import bisect
import json
import math
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from paaplus.errors import InvalidInput

_MAX_HEADER_BYTES = 100_000_000
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_WRAPPERS = ("state_dict", "model", "network")


class TensorSource(Protocol):
    """Named tensors that can be read one by one."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def read(self, name: str) -> Tensor:
        """A new tensor on the CPU."""


class TensorFile:
    """The tensors of a file (satisfies `TensorSource`).

    Raises:
        InvalidInput: the file does not exist, is damaged, would run code, or contains anything but tensors. Damage
            inside a tensor is found when the tensor is read.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InvalidInput(f"weights file {path} does not exist")
        self.path = path
        self.metadata: dict[str, str] = {}
        self._readers: dict[str, Callable[[], Tensor]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        try:
            if path.suffix == ".safetensors":
                self._open_safetensors()
            elif zipfile.is_zipfile(path):
                self._open_archive()
            else:
                self._open_legacy()
        except _UNREADABLE as error:
            raise InvalidInput(f"weights file {path} cannot be read: {_first_line(error)}") from error
        if not self._shapes:
            raise InvalidInput(f"weights file {path} has no tensors")

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self._shapes

    def read(self, name: str) -> Tensor:
        """A tensor's content as a new tensor on the CPU.

        Raises:
            InvalidInput: its bytes are missing or damaged.
        """
        try:
            return self._readers[name]()
        except _UNREADABLE as error:
            raise InvalidInput(f"weights file {self.path}, tensor {name}: {_first_line(error)}") from error

    def _open_safetensors(self) -> None:
        size_bytes = self.path.stat().st_size
        with self.path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if header_bytes > min(_MAX_HEADER_BYTES, size_bytes - 8):
                raise ValueError(f"its header claims {header_bytes} of {size_bytes} bytes")
            header = json.loads(file.read(header_bytes))
        self.metadata = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
        for name, entry in header.items():
            dtype, shape = _DTYPES[entry["dtype"]], tuple(int(size) for size in entry["shape"])
            begin, end = (8 + header_bytes + int(offset) for offset in entry["data_offsets"])
            if min(shape, default=1) < 0 or begin < 8 + header_bytes or end > size_bytes:
                raise ValueError(f"tensor {name} of shape {shape} lies outside of its {size_bytes} bytes")
            if end - begin != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"tensor {name} of shape {shape} and {dtype} in {end - begin} bytes")
            self._add(name, shape, partial(self._read_at, begin, dtype, shape))

    def _read_at(self, begin: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        with self.path.open("rb") as file:
            file.seek(begin)
            return _fill(file, math.prod(shape) * dtype.itemsize).view(dtype).view(shape)

    def _open_archive(self) -> None:
        with FakeTensorMode():
            content = _unpickled(self.path)
        size_bytes = self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            records = sorted(archive.infolist(), key=lambda record: record.header_offset)
            if any(record.filename.endswith("/byteorder") for record in records):
                order = next(archive.read(record) for record in records if record.filename.endswith("/byteorder"))
                if order != b"little":
                    raise ValueError(f"byte order {order!r}")
        starts = [record.header_offset for record in records]
        for name, tensor in _tensors(content).items():
            storage = tensor.untyped_storage()
            record = records[bisect.bisect_left(starts, storage._checkpoint_offset) - 1]
            if record.compress_type != zipfile.ZIP_STORED or not record.file_size == storage.nbytes() <= size_bytes:
                raise ValueError(f"tensor {name}: {storage.nbytes()} bytes in record {record.filename} of another size")
            self._add(name, tuple(tensor.shape), partial(self._read_record, tensor, record))

    def _read_record(self, fake: Tensor, record: zipfile.ZipInfo) -> Tensor:
        with zipfile.ZipFile(self.path) as archive, archive.open(record) as file:
            storage = _fill(file, record.file_size).view(fake.dtype)
            file.read(1)  # reading the end of a record verifies its checksum
        view = storage.as_strided(fake.shape, fake.stride(), int(fake.storage_offset()))
        return view if view.is_contiguous() and view.numel() == storage.numel() else view.clone()

    def _open_legacy(self) -> None:
        """Files of torch < 1.6 are read as a whole, which needs twice the memory."""
        for name, tensor in _tensors(_unpickled(self.path)).items():
            self._add(name, tuple(tensor.shape), tensor.clone)

    def _add(self, name: str, shape: tuple[int, ...], reader: Callable[[], Tensor]) -> None:
        self._shapes[name], self._readers[name] = shape, reader


_UNREADABLE = (
    pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError,
    AttributeError, IndexError, NotImplementedError,
)  # fmt: skip


def _unpickled(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about files that are refused here anyway
        return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(content: Any) -> dict[str, Tensor]:
    """The mapping of names to tensors, without a wrapper that training code may have added."""
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__}, not a mapping of names to tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ValueError(f"entry {name!r} is a {type(value).__name__}, not a tensor")
    return content


def _fill(file: IO[bytes], size_bytes: int) -> Tensor:
    """The next bytes of a file as a new tensor."""
    content = torch.empty(size_bytes, dtype=torch.uint8)
    rest: Any = memoryview(content.numpy())
    while rest:
        num_read = file.readinto(rest)  # type: ignore[attr-defined]
        if not num_read:
            raise EOFError(f"{size_bytes - len(rest)} of {size_bytes} bytes")
        rest = rest[num_read:]
    return content


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
