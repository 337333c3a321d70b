"""Forms with fields and files. Names and fields are UTF-8: what is not is refused, and not read as something else."""

from __future__ import annotations

from contextlib import aclosing
from email.message import Message as Header

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request


async def read_form(request: Request) -> None:
    """Read and parse the body, so that `request.form()` returns it.

    Raises:
        HTTPException: 400, it is no form; 415, it says that it is in another encoding than UTF-8.
        RequestValidationError: a name or a field is not UTF-8.
    """
    try:
        async with aclosing(request.stream()) as stream:
            request._form = await _Utf8Parser(request.headers, stream).parse()  # where Starlette keeps it
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error


class _Utf8Parser(MultiPartParser):
    """Starlette's parser reads what it cannot decode as Latin-1, in which every byte is a character."""

    def on_headers_finished(self) -> None:
        if self._charset != "utf-8":
            raise HTTPException(415, f"charset {self._charset!r:.40} is not accepted: send the form in UTF-8")
        disposition = bytes(self._current_part.content_disposition or b"")
        _require_utf8(disposition, "Content-Disposition", "header")
        self._current_part.content_disposition = _with_plain_filename(disposition)
        super().on_headers_finished()

    def on_part_end(self) -> None:
        if self._current_part.file is None:
            _require_utf8(bytes(self._current_part.data), self._current_part.field_name, "body")
        super().on_part_end()


def _with_plain_filename(disposition: bytes) -> bytes:
    """With `filename` where only `filename*` is given, which older clients send for names that are not ASCII.

    The parser does not know it: the file would be taken for a field.
    """
    options = disposition.lower()
    if b"filename*=" not in options or b"filename=" in options:
        return disposition
    header = Header()
    header["content-disposition"] = disposition.decode()
    name = (header.get_filename("") or "file").replace("\\", "/").replace('"', "'")
    return disposition + b'; filename="' + name.encode("utf-8", "replace") + b'"'


def _require_utf8(data: bytes, name: str, place: str) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        message = f"is not UTF-8: byte {error.start + 1} is 0x{data[error.start]:02x}"
        raise RequestValidationError([{"type": "not_utf8", "loc": (place, name[:128]), "msg": message}]) from error
