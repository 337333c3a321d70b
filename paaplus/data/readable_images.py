"""Which images of a data folder can be read: looked at before features are computed."""

from __future__ import annotations

from paaplus.data.copies import with_copies_together
from paaplus.data.folder import DataFolder
from paaplus.data.image_folder import first_of, report_skipped
from paaplus.errors import InvalidInput
from paaplus.image_files import check_image_file, decode_image


def readable_images(folder: DataFolder, *, strict: bool = False) -> DataFolder:
    """The folder without the unrated images that cannot be read, and with copies of one file in one scene.

    Both are named in warnings; images that cannot be read are refused if `strict`.

    Of rated images the headers are read, and of unrated ones all, so that nothing is refused after hours of work.

    Raises:
        InvalidInput: a rated image is no image; the message lists up to ten.
    """
    rated = set(folder.image_N.tolist())
    wrong: list[str] = []
    skipped: dict[str, str] = {}
    for position, name in enumerate(folder.images):
        file = folder.image_path(name)
        try:
            if position in rated:
                check_image_file(file)
            else:
                decode_image(file.read_bytes())
        except (InvalidInput, OSError) as error:
            if position in rated:
                wrong.append(f"{file}: {error}")
            else:
                skipped[name] = f"{name!r} ({error})"
    if wrong:
        raise InvalidInput(f"{len(wrong)} rated image(s) cannot be read: {first_of(wrong)}")
    report_skipped(folder.path / "images", list(skipped.values()), strict)
    if skipped:
        folder = folder.only(images=[name for name in folder.images if name not in skipped])
    return with_copies_together(folder)
