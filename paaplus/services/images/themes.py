"""Themes: one tag an image, set by the application or the image's owner; free text, for whoever calibrates by it."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from paaplus.db.tables import ImageRow
from paaplus.errors import Forbidden
from paaplus.services.images import images
from paaplus.services.users.keys import Principal
from paaplus.texts import clean_name

THEME_MAX = 64


def check(theme: str | None) -> str | None:
    """The theme as it is kept, see `texts.clean_name`.

    Raises:
        InvalidInput: nothing but blanks, too long, or with a character that no theme needs.
    """
    return None if theme is None else clean_name(theme, THEME_MAX, "the theme")


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
