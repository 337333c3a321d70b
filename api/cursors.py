"""Cursors of lists: after which item a page begins, and which list it is a page of.

A list is its path, its conditions and who asks. With the cursor of another list, a page would begin anywhere, and items
would be left out without a word: it is refused. A cursor stays good when items come and go, its own too.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Any, Final, Protocol
from uuid import UUID

from fastapi import Depends, Query, Request
from fastapi.exceptions import RequestValidationError

from paaplus.api.path_prefix import route_path
from paaplus.services.users.keys import Principal

MAX_CHARACTERS: Final = 64
DESCRIPTION: Final = (
    "`next_cursor` of the previous page of the same list: path, conditions and owner of the key must be the same; "
    "`limit` may change."
)
_NOT_CONDITIONS: Final = frozenset({"cursor", "limit"})
_ID_BYTES: Final = 16
_LIST_BYTES: Final = 8  # of the digest that tells lists apart: a mistake is found, it is no secret


class _HasId(Protocol):
    @property
    def id(self) -> UUID: ...


class ListCursor:
    """Where a page of one list begins: after the item `after`; None: it is the first page."""

    def __init__(self, of_list: bytes, after: UUID | None) -> None:
        self._of_list, self.after = of_list, after

    @classmethod
    def of(
        cls, path: str, conditions: Any, principal: Principal, given: str | None, place: tuple[str, ...]
    ) -> ListCursor:
        """Read a given cursor.

        Args:
            conditions: all that chooses the items of the list; JSON.
            place: of the cursor in the request, for the error.

        Raises:
            RequestValidationError: it is no cursor, or of another list.
        """
        asker = [principal.application, str(principal.user_id or "")]
        text = json.dumps([path, conditions, asker], sort_keys=True, ensure_ascii=False)
        of_list = sha256(text.encode(errors="surrogatepass")).digest()[:_LIST_BYTES]
        if given is None:
            return cls(of_list, None)
        try:
            made = base64.b64decode(given.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            made = b""
        if len(made) != _ID_BYTES + _LIST_BYTES:
            raise _refused(place, "is no `next_cursor` of a page")
        if made[_ID_BYTES:] != of_list:
            raise _refused(
                place,
                "is the `next_cursor` of another list, of other conditions or of another owner of a key: "
                "begin with the first page",
            )
        return cls(of_list, UUID(bytes=made[:_ID_BYTES]))

    def at(self, last: UUID | None) -> str | None:
        """The cursor of the page after this item; None: there is none."""
        if last is None:
            return None
        return base64.urlsafe_b64encode(last.bytes + self._of_list).decode()

    def next(self, rows: Sequence[_HasId], limit: int) -> str | None:
        """The cursor after these rows; None if fewer than `limit` rows were found."""
        return self.at(rows[-1].id) if len(rows) == limit else None


def _refused(place: tuple[str, ...], message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "wrong_cursor", "loc": place, "msg": message}])


async def _of_query(
    request: Request, cursor: Annotated[str | None, Query(max_length=MAX_CHARACTERS, description=DESCRIPTION)] = None
) -> ListCursor:
    conditions = sorted(item for item in request.query_params.multi_items() if item[0] not in _NOT_CONDITIONS)
    return ListCursor.of(
        route_path(request.scope), conditions, request.state.principal, cursor, place=("query", "cursor")
    )


Cursor = Annotated[ListCursor, Depends(_of_query)]
