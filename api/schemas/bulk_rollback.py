"""Rollbacks of many users in one call."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field

from paaplus.api import cursors
from paaplus.api.schemas.common import Flag, In, Moment, Name, Out, Reason, Whole
from paaplus.services.adapters.bulk_rollback import MAX_USERS, BulkReport, Selection


class BulkRollbackIn(In):
    """Which active versions are rolled back: those that meet all given conditions; `application` alone is none."""

    application: Name | None = None
    run: UUID | None = Field(None, description="The training that made the version.")
    since: Moment | None = Field(
        None, description="The version was made then or later.", examples=["2026-11-22T12:00:00Z"]
    )
    strategy: Name | None = Field(None, examples=["bayes"])
    source: Name | None = Field(None, description="The version was trained on feedback of this source, as `key:ID`.")
    feedback: Literal["exclude", "keep"] = Field("exclude", description="As in a rollback of one user.")
    dry_run: Flag = Field(False, description="Only say what would be done.")
    limit: Annotated[Whole, Field(ge=1, le=MAX_USERS)] = MAX_USERS
    after: str | None = Field(
        None,
        max_length=cursors.MAX_CHARACTERS,
        description="`next_after` of the previous call, whose conditions must be the same.",
    )
    reason: Reason = Field(examples=["the key was stolen"])

    def selection(self) -> Selection:
        return Selection(self.application, self.run, self.since, self.strategy, self.source)


class UserRollbackOut(Out):
    """Version numbers before and after; null is the base model. With `error`, nothing was changed."""

    user_id: UUID
    from_number: int
    to_number: int | None
    error: str | None


class BulkRollbackOut(Out):
    dry_run: bool
    done: int = Field(description="Users who were, or would be, rolled back.")
    failed: int
    users: list[UserRollbackOut]
    next_after: str | None = Field(description="Where the next call goes on; null: no user is left.")

    @classmethod
    def of(cls, report: BulkReport, next_after: str | None, *, dry_run: bool) -> Self:
        failed = sum(user.error is not None for user in report.users)
        users = [UserRollbackOut.model_validate(user) for user in report.users]
        return cls(dry_run=dry_run, done=len(users) - failed, failed=failed, users=users, next_after=next_after)
