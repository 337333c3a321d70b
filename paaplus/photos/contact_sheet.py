"""A contact sheet: one HTML file, with thumbnails in a person's order beside everybody's. It loads nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from paaplus.db.tables import ImageRow
from paaplus.errors import Damaged, NotFound
from paaplus.photos.platform import LocalPlatform
from paaplus.photos.ranking import FolderRanking, RankedPhoto
from paaplus.services import names
from paaplus.services.images import thumbnails
from paaplus.whole_files import write_atomically

NUM_FIRST: Final = 60
NUM_LAST: Final = 20
_SIZE: Final = 256

_STYLE: Final = """
:root { color-scheme: light dark; --page: #fff; --text: #1c1d1f; --quiet: #63666b; --card: #f1f2f4; --up: #14703a;
  --down: #9a3412 }
@media (prefers-color-scheme: dark) { :root { --page: #17181a; --text: #e9eaec; --quiet: #a3a7ad; --card: #232529;
  --up: #58c98a; --down: #f0955f } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1500px; padding: 24px 16px 48px; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, sans-serif }
h1 { font-size: 24px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere }
h2 { font-size: 17px; margin: 0 0 10px }
p { margin: 0 0 16px; color: var(--quiet); max-width: 75ch }
.orders { display: grid; grid-template-columns: 1fr 1fr; gap: 24px }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 10px;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)) }
li { background: var(--card); border-radius: 6px; overflow: hidden; min-width: 0 }
.photo { display: block; width: 100%; aspect-ratio: 4 / 3; background-position: center; background-size: cover }
.line { display: flex; flex-wrap: wrap; gap: 0 8px; padding: 4px 8px 0; font-variant-numeric: tabular-nums }
.line b { font-size: 16px }
.name { padding: 0 8px 6px; color: var(--quiet); font-size: 12px; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis }
.up { color: var(--up) } .down { color: var(--down) }
.tag { color: var(--quiet) }
.gap { grid-column: 1 / -1; background: none; color: var(--quiet); text-align: center; padding: 8px }
@media (max-width: 640px) { body { padding: 16px 10px 32px } .orders { gap: 10px } h1 { font-size: 20px }
  h2 { font-size: 15px } ol { grid-template-columns: 1fr; gap: 8px } }
"""


def write_contact_sheet(platform: LocalPlatform, ranking: FolderRanking, title: str, user: str, file: Path) -> None:
    """Write the sheet: of a large folder, the first and the last of each order.

    Raises:
        Unavailable: the storage does not answer.
        OSError: the file cannot be written.
    """
    mine = ranking.photos
    everybody = sorted(mine, key=lambda photo: photo.generic_rank)
    shown = {photo.image_id: photo for order in (mine, everybody) for photo in _ends(order) if photo is not None}
    pictures = _pictures(platform, list(shown.values()))
    is_personal = ranking.source != "base"
    order = f"{_whose(user)} order" if is_personal else "everybody's order"
    told = (
        f"{len(mine)} photographs. Left: {order}, learned from {_count(mine)}. Right: everybody's order, "
        "which the base model gives without knowing the person. Arrows tell how many places a photograph moved."
        if is_personal
        else f"{len(mine)} photographs. Nothing is learned of {user} yet: rate some of them, and rank again."
    )
    rules = "".join(
        f".p{number} {{ background-image: url(data:image/webp;base64,{base64.b64encode(data).decode()}) }}\n"
        for number, data in enumerate(pictures.values())
    )
    numbers = {image_id: number for number, image_id in enumerate(pictures)}
    orders = _list(mine, numbers, personal=True)
    if is_personal:
        orders = (
            f'<div class="orders"><section><h2>{escape(order[:1].upper() + order[1:])}</h2>{orders}</section>'
            f"<section><h2>Everybody's order</h2>{_list(everybody, numbers, personal=False)}</section></div>"
        )
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{rules}</style></head><body>"
        f"<h1>{escape(title)}, in {escape(order)}</h1><p>{escape(told)}</p>{orders}</body></html>\n"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, page.encode())


def _whose(user: str) -> str:
    return "my" if user == names.HOME_USER else f"{user}'s"


def _count(photos: Sequence[RankedPhoto]) -> str:
    num_rated = len({photo.image_id for photo in photos if photo.rated is not None})  # two copies are rated once
    return f"{num_rated} rating{'s' * (num_rated > 1)} in this folder" if num_rated else "ratings of other photographs"


def _ends(photos: Sequence[RankedPhoto]) -> list[RankedPhoto | None]:
    """The first and the last; None stands for those between."""
    if len(photos) <= NUM_FIRST + NUM_LAST:
        return list(photos)
    return [*photos[:NUM_FIRST], None, *photos[-NUM_LAST:]]


def _list(photos: Sequence[RankedPhoto], numbers: dict[object, int], *, personal: bool) -> str:
    left_out = len(photos) - NUM_FIRST - NUM_LAST
    cells = [
        f'<li class="gap">{left_out} between</li>' if photo is None else _cell(photo, numbers, personal=personal)
        for photo in _ends(photos)
    ]
    return f"<ol>{''.join(cells)}</ol>"


def _cell(photo: RankedPhoto, numbers: dict[object, int], *, personal: bool) -> str:
    rank, score = (photo.rank, photo.score) if personal else (photo.generic_rank, photo.generic_score)
    parts = [f"<b>{rank}</b>", f"<span>{score:.1f}</span>"]
    moved = photo.generic_rank - photo.rank
    if personal and moved:
        parts.append(f'<span class="{"up" if moved > 0 else "down"}">{"▲" if moved > 0 else "▼"}{abs(moved)}</span>')
    if personal and photo.rated is not None:
        parts.append(f'<span class="tag" title="own rating">★{photo.rated}</span>')
    if personal and photo.burst is not None:
        parts.append(f'<span class="tag">{"best of" if photo.is_best_of_burst else "in"} burst {photo.burst}</span>')
    name = escape(photo.name, quote=True)
    picture = f" p{numbers[photo.image_id]}" if photo.image_id in numbers else ""
    return (
        f'<li><span class="photo{picture}" role="img" aria-label="{name}"></span>'
        f'<div class="line">{"".join(parts)}</div><div class="name" title="{name}">{name}</div></li>'
    )


def _pictures(platform: LocalPlatform, photos: Sequence[RankedPhoto]) -> dict[object, bytes]:
    """Thumbnails by image. One whose stored file is lost or damaged has none."""
    with platform.database.read_session() as session:
        rows = session.execute(sa.select(ImageRow).where(ImageRow.owner_id == platform.user_id)).scalars()
        of_id = {row.id: row for row in rows}
    found: dict[object, bytes] = {}
    for photo in photos:
        with suppress(Damaged, NotFound):
            found[photo.image_id] = thumbnails.get(
                platform.database, platform.blobs, platform.settings, of_id[photo.image_id], _SIZE, "webp"
            ).data
    return found
