"""Stars in files: read what other programs wrote, and write scores as XMP that they read. exiv2 does the work.

XMP is in a sidecar (`name.xmp` or `name.ext.xmp`) or in the photograph itself. Stars are `xmp:Rating`, 1 to 5; -1 is
rejected, 0 is none. Windows and older programs write `MicrosoftPhoto:Rating`, 1 to 99, or EXIF's Rating.

What paaplus writes is in a namespace of its own: the score, and the stars that it gave. So stars that a person has set
or changed are known by being other ones: they are never replaced, and only they are learned from.

Source: XMP Specification Part 2 (Adobe, 2022), section 2.8; Windows Imaging Component, "Photo Metadata Policies".
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from paaplus.errors import InvalidInput, Unavailable
from paaplus.image_kinds import PHOTO_SUFFIXES, RAW_SUFFIXES
from paaplus.numbers import parse_number
from paaplus.times import parse_moment

NAMESPACE: Final = "urn:paaplus:photos:1.0/"
PREFIX: Final = "paaplus"
REJECTED: Final = -1
_SCORE, _GENERIC, _STARS, _USER = (f"Xmp.{PREFIX}.{name}" for name in ("Score", "GenericScore", "Stars", "User"))
_RATING = "Xmp.xmp.Rating"
_MICROSOFT = "Xmp.MicrosoftPhoto.Rating"
_EXIF_RATING, _EXIF_PERCENT = "Exif.Image.Rating", "Exif.Image.RatingPercent"
_DATES = ("Xmp.xmp.MetadataDate", "Xmp.xmp.ModifyDate")
_OF_PERCENT: Final = (
    (1, 1),
    (13, 2),
    (38, 3),
    (63, 4),
    (88, 5),
)  # from which value on; 1, 25, 50, 75 and 99 are written
_EMPTY_SIDECAR: Final = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about=""/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_SIDECAR_MAX: Final = 64 * 2**20  # a photograph that is called .xmp is none


@dataclass(frozen=True, slots=True)
class GivenStars:
    """Stars that a person gave a photograph: 1 to 5, or `REJECTED`. `occurred_at`: the metadata's last change."""

    stars: int
    occurred_at: datetime | None
    source: Path


@dataclass(frozen=True, slots=True)
class WrittenScore:
    """What is written about a photograph."""

    stars: int
    score: float
    generic_score: float
    user: str


def sidecars_of(photograph: Path) -> list[Path]:
    """The sidecars that exist, the more specific name first: `a.jpg.xmp` before `a.xmp`.

    Where several photographs are called `a`, `a.xmp` is that of the RAW file: so Lightroom writes it.
    """
    names = [f"{photograph.name}.xmp", f"{photograph.name}.XMP"]
    if _owns_short_name(photograph):
        names += [f"{photograph.stem}.xmp", f"{photograph.stem}.XMP"]
    return [file for name in dict.fromkeys(names) if (file := photograph.with_name(name)).is_file()]


def _owns_short_name(photograph: Path) -> bool:
    suffix = photograph.suffix[1:].lower()
    others = {each for known in PHOTO_SUFFIXES - {suffix} for each in (known, known.upper())}
    return suffix in RAW_SUFFIXES or not any(photograph.with_suffix(f".{each}").exists() for each in others)


def read_stars(photograph: Path) -> GivenStars | None:
    """The stars that a person gave, by the newest of the sidecars and the file itself; None: none.

    Raises:
        InvalidInput: a sidecar cannot be read, or has stars outside -1 to 5.
        Unavailable: the package that reads XMP is not installed.
        OSError: a file cannot be read.
    """
    found = [
        given for file in (*sidecars_of(photograph), photograph) if (given := _stars_in(file, photograph)) is not None
    ]
    oldest = datetime.min.replace(tzinfo=UTC)
    return max(found, key=lambda given: given.occurred_at or oldest, default=None)


def write_sidecar(photograph: Path, written: WrittenScore) -> Path:
    """Write a score into the sidecar, merged with what it has; returns the sidecar.

    A new one is called `name.xmp`; or `name.ext.xmp` if that name belongs to another photograph, see `sidecars_of`.

    Raises:
        InvalidInput: the existing sidecar cannot be read. It is not changed.
        Unavailable: the package that writes XMP is not installed.
        OSError: it cannot be written.
    """
    existing = sidecars_of(photograph)
    name = photograph.stem if _owns_short_name(photograph) else photograph.name
    sidecar = existing[0] if existing else photograph.with_name(f"{name}.xmp")
    _replace(photograph, sidecar if existing else None, sidecar, written)
    return sidecar


def write_in_place(photograph: Path, written: WrittenScore) -> None:
    """Write a score into the photograph itself: a changed copy replaces it at once, so no half of a file is ever there.

    Raises:
        InvalidInput: this kind of file cannot be written, and is not changed.
        Unavailable: the package that writes XMP is not installed.
        OSError: it cannot be written.
    """
    if photograph.suffix[1:].lower() in RAW_SUFFIXES:
        raise InvalidInput(f"{photograph.name}: a RAW file is never written; its sidecar is")
    _replace(photograph, photograph, photograph, written)


def _replace(photograph: Path, source: Path | None, target: Path, written: WrittenScore) -> None:
    """Write a changed copy of `source` to `target`: with stars only if no person has given the photograph any."""
    exiv2 = _exiv2()
    with_stars = read_stars(photograph) is None
    handle, name = tempfile.mkstemp(prefix=".paaplus-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    copy = Path(name)
    try:
        if source is None:
            copy.write_text(_EMPTY_SIDECAR, encoding="utf-8")
            copy.chmod(0o666 & ~_umask())
        else:
            shutil.copy2(source, copy)
        try:
            with exiv2.Image(str(copy)) as image:
                image.modify_xmp(_changes(image.read_xmp(), written, with_stars=with_stars))
        except (RuntimeError, ValueError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{target.name}: its metadata cannot be written: {_first_line(error)}") from error
        with copy.open("rb") as stream:
            os.fsync(stream.fileno())
        copy.replace(target)
    finally:
        copy.unlink(missing_ok=True)


def _changes(fields: Mapping[str, Any], written: WrittenScore, *, with_stars: bool) -> dict[str, str]:
    """The fields to write. An empty value deletes a field: our mark of stars that are a person's now."""
    stars = str(written.stars) if with_stars else ""
    changes = {
        _SCORE: f"{written.score:.3f}",
        _GENERIC: f"{written.generic_score:.3f}",
        _USER: written.user,
        _STARS: stars,
    }
    if with_stars:
        changes[_RATING] = stars
    return {name: value for name, value in changes.items() if value or name in fields}


def _is_persons(fields: Mapping[str, Any]) -> bool:
    rating = str(fields.get(_RATING, "")).strip()
    return rating not in ("", "0") and rating != str(fields.get(_STARS, "")).strip()


def _stars_in(file: Path, photograph: Path) -> GivenStars | None:
    exiv2 = _exiv2()
    is_sidecar = file != photograph
    if is_sidecar and file.stat().st_size > _SIDECAR_MAX:
        raise InvalidInput(f"{file.name}: {file.stat().st_size} bytes are too many for a sidecar")
    try:
        with exiv2.Image(str(file)) as image:
            fields = image.read_xmp()
            exif = {} if is_sidecar else image.read_exif()  # exiv2 makes up EXIF from a sidecar's XMP
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        if is_sidecar:
            raise InvalidInput(f"{file.name}: not readable as XMP: {_first_line(error)}") from error
        return None  # a kind of file that has no metadata, or none that is read
    stars = _stars(fields, exif, file)
    return GivenStars(stars, _date(fields, file), file) if stars is not None else None


def _stars(fields: Mapping[str, Any], exif: Mapping[str, Any], file: Path) -> int | None:
    if fields.get(_RATING) is not None:
        rating = _whole(fields[_RATING], file)
        if not REJECTED <= rating <= 5:
            raise InvalidInput(f"{file.name}: xmp:Rating is {rating}; it should be -1 to 5")
        return rating if rating != 0 and _is_persons(fields) else None
    for name, values in ((_MICROSOFT, fields), (_EXIF_PERCENT, exif)):
        if values.get(name) is not None and (percent := _whole(values[name], file)) > 0:
            return max(stars for least, stars in _OF_PERCENT if percent >= least)
    rating = _whole(exif.get(_EXIF_RATING, 0), file)
    return rating if 1 <= rating <= 5 else None


def _whole(value: Any, file: Path) -> int:
    try:
        return round(parse_number(str(value).strip()))
    except InvalidInput as error:
        raise InvalidInput(f"{file.name}: a rating of {value!r:.40} is not a number") from error


def _date(fields: Mapping[str, Any], file: Path) -> datetime:
    """When the metadata were changed last, by themselves, else by the file's time. It is not after now."""
    now = datetime.now(UTC)
    for name in _DATES:
        if name in fields:
            with suppress(InvalidInput):
                return min(_moment(str(fields[name])), now)
    return min(datetime.fromtimestamp(file.stat().st_mtime, UTC), now)


def _moment(text: str) -> datetime:
    """A date of XMP. Without a time zone, which XMP allows, it is in that of this machine."""
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return parse_moment(moment.astimezone().isoformat())
    return parse_moment(text)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _exiv2() -> Any:
    """The package pyexiv2, which knows our namespace then."""
    try:
        exiv2 = import_module("pyexiv2")
    except ImportError as error:
        raise Unavailable("XMP needs the package pyexiv2: pip install 'paaplus[photos]'") from error
    exiv2.set_log_level(4)  # what is wrong comes as an error; exiv2 would also print it
    exiv2.registerNs(NAMESPACE, PREFIX)
    return exiv2
