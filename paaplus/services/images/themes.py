"""Themes: one tag an image, set by the application or the image's owner; free text, for whoever calibrates by it."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from paaplus.db.tables import ImageRow
from paaplus.errors import Forbidden, InvalidInput
from paaplus.services.images import images
from paaplus.services.users.keys import Principal

THEME_MAX = 64


def check(theme: str | None) -> str | None:
    """The theme as it is kept, without blanks around it.

    Raises:
        InvalidInput: nothing but blanks, too long, or with characters that cannot be printed.
    """
    if theme is None:
        return None
    theme = theme.strip()
    if not (0 < len(theme) <= THEME_MAX and theme.isprintable()):
        raise InvalidInput(f"theme {theme[:80]!r}: 1 to {THEME_MAX} printable characters")
    return theme


def set_theme(session: Session, principal: Principal, image_id: UUID, theme: str | None) -> ImageRow:
    """Tag an image, or take its tag away (None).

    Raises:
        NotFound: no such image, or none that this principal may see.
        Forbidden: a user's key, and the image belongs to nobody in particular.
        InvalidInput: see `check`.
    """
    theme = check(theme)
    row = images.get(session, principal, image_id)
    if principal.user_id is not None and row.owner_id != principal.user_id:
        raise Forbidden("a shared image is tagged by its application, not by one of its users")
    row.theme = theme
    session.flush()
    return row
