"""API keys. Only a new key's answer has its secret."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from paaplus.api.schemas.common import Flag, In, Name, Out, UserRef
from paaplus.api.schemas.users import Application
from paaplus.db.tables.governance import KeyScope


class KeyIn(In):
    """An application key needs `application`, a user or expert key `user`, an admin key neither."""

    name: Annotated[Name, StringConstraints(max_length=64)] = Field(examples=["photo-app backend"])
    scope: KeyScope
    application: Application | None = None
    user: UserRef | None = None
    creates_users: Flag = Field(
        False,
        description="Of an application key: a user that feedback, predictions, rankings or uploads name for the first "
        "time is created. Otherwise an unknown user is an error.",
    )


class KeyOut(Out):
    id: UUID
    name: str
    scope: KeyScope
    application: str | None
    user_id: UUID | None
    creates_users: bool
    created_at: datetime
    rotated_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    """A new key with its secret, which no other answer shows."""

    key: str = Field(examples=["paa_..."])
