"""Fill a deployment with made-up users, images and ratings, to measure how it grows: not through HTTP.

The database makes the rows from numbers, thousands in a statement, so a million users take minutes. Ids are made of a
random prefix and a number: what is seeded twice does not collide. Images have no files. Every row is what the platform
would have written, with counters that fit; the rating of an event follows from its number.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from paaplus.db.engine import Database
from paaplus.db.event_keys import prepare_sql, sql_event_key
from paaplus.db.tables import DueRow, FeedbackRow, ImageRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput

SOURCE: Final = "seed"
_BATCH: Final = 20_000  # rows of a statement, which is a transaction of its own
_IMAGE_STEP: Final = 7_919  # a prime: a user's events go through all images before one comes again
_PAYLOAD: Final = ('[{"', '":', ".5},0,10]")  # as it is stored; aspect and points go between


@dataclass(frozen=True)
class SeedPlan:
    """What to make.

    Attributes:
        application: of users and images.
        num_users: users without a version.
        num_feedback: ratings of each user.
        num_images: images that the application shares.
        num_due: users whose feedback waits for a training, and who are due now; that of the others counts as trained.
        aspect: that is rated.

    Raises:
        InvalidInput: a number below 0, more due users than users, or feedback without images.
    """

    application: str
    num_users: int
    num_feedback: int = 0
    num_images: int = 0
    num_due: int = 0
    aspect: str = "beauty"

    def __post_init__(self) -> None:
        if min(self.num_users, self.num_feedback, self.num_images, self.num_due) < 0:
            raise InvalidInput("a seed of fewer than 0 rows")
        if self.num_due > self.num_users:
            raise InvalidInput(f"{self.num_due} due users of {self.num_users}")
        if self.num_users and self.num_feedback and not self.num_images:
            raise InvalidInput("feedback needs images: --images")


@dataclass(frozen=True)
class Seeded:
    """How many rows were made, and the beginning of their ids and of users' external ids."""

    prefix: str
    users: int
    images: int
    feedback: int


def seed(database: Database, plan: SeedPlan) -> Seeded:
    """Make the rows of a plan. What was made before a failure stays."""
    rows = _Rows(database.engine.dialect.name, secrets.token_hex(7), plan)
    for statement in rows.statements():
        with database.session() as session:
            prepare_sql(session.connection())
            session.execute(statement)
    num_feedback = plan.num_users * plan.num_feedback
    return Seeded(rows.prefix, plan.num_users, plan.num_images, num_feedback)


@dataclass(frozen=True)
class _Rows:
    dialect: str
    prefix: str
    plan: SeedPlan

    def statements(self) -> Iterator[sa.Insert]:
        """Images, users and feedback, in parts."""
        plan = self.plan
        for first in range(0, plan.num_images, _BATCH):
            yield self._images(first, min(first + _BATCH, plan.num_images))
        for first in range(0, plan.num_users, _BATCH):
            yield self._users(first, min(first + _BATCH, plan.num_users))
        for first in range(0, plan.num_due, _BATCH):
            yield self._due(first, min(first + _BATCH, plan.num_due))
        if plan.num_feedback:
            num_users = max(_BATCH // plan.num_feedback, 1)
            for first in range(0, plan.num_users, num_users):
                yield self._feedback(first, min(first + num_users, plan.num_users))

    def _images(self, first: int, end: int) -> sa.Insert:
        number = _numbers("n", first, end)
        digest = self._hex(number.c.n, 64)
        sizes = {"width_px": 640, "height_px": 480, "size_bytes": 100_000, "media_type": "image/jpeg"}
        return _insert(
            ImageRow,
            number,
            id=self._uuid("1", number.c.n),
            application=self.plan.application,
            sha256=digest,
            upload_sha256=digest,
            created_at=utcnow(),
            **sizes,
        )

    def _users(self, first: int, end: int) -> sa.Insert:
        number, plan, now = _numbers("n", first, end), self.plan, utcnow()
        is_due, moment = number.c.n < plan.num_due, sa.literal(now, UserRow.__table__.c.created_at.type)
        return _insert(
            UserRow,
            number,
            id=self._uuid("2", number.c.n),
            application=plan.application,
            external_id=sa.literal(f"{self.prefix}-") + sa.cast(number.c.n, sa.String()),
            policy=sa.literal({}, UserRow.__table__.c.policy.type),
            pinned=False,
            shares_taste=False,
            feedback_sequence=plan.num_feedback,
            trained_sequence=sa.case((is_due, 0), else_=plan.num_feedback),
            pending_count=sa.case((is_due, plan.num_feedback), else_=0),
            pending_since=sa.case((is_due, moment)),
            watched_sequence=plan.num_feedback,
            adapter_sequence=0,
            epoch=0,
            created_at=now,
        )

    def _due(self, first: int, end: int) -> sa.Insert:
        number = _numbers("n", first, end)
        return _insert(
            DueRow, number, user_id=self._uuid("2", number.c.n), due_at=utcnow(), reason=DueReason.INTERVAL.value
        )

    def _feedback(self, first: int, end: int) -> sa.Insert:
        plan = self.plan
        user, event = _numbers("u", first, end), _numbers("e", 0, plan.num_feedback)
        number = user.c.u * plan.num_feedback + event.c.e
        before, between, after = _PAYLOAD
        points = sa.cast((number * _IMAGE_STEP + user.c.u) % 10, sa.String())
        payload = sa.literal(before) + plan.aspect + between + points + after
        payload_type = FeedbackRow.__table__.c.payload.type
        user_id, event_id = self._uuid("2", user.c.u), sa.literal("seed-") + sa.cast(event.c.e, sa.String())
        return _insert(
            FeedbackRow,
            user.join(event, sa.true()),
            user_id=user_id,
            sequence=event.c.e + 1,
            event_id=event_id,
            event_key=sql_event_key(self.dialect, user_id, event_id),
            kind=sa.literal(FeedbackKind.RATING, FeedbackRow.__table__.c.kind.type),
            image_id=self._uuid("1", (user.c.u + event.c.e * _IMAGE_STEP) % plan.num_images),
            payload=payload if self.dialect == "sqlite" else sa.cast(payload, payload_type),
            body_digest=number,
            source=SOURCE,
            received_at=utcnow(),
        )

    def _uuid(self, kind: str, number: ColumnElement[Any]) -> ColumnElement[Any]:
        """An id: the prefix, a digit for the kind of row, and the number."""
        text = self._hex(number, 32, kind)
        return sa.type_coerce(text, sa.Uuid()) if self.dialect == "sqlite" else sa.cast(text, sa.Uuid())

    def _hex(self, number: ColumnElement[Any], width: int, kind: str = "0") -> ColumnElement[Any]:
        """The prefix, a digit, and the number in hexadecimal digits, together of this width."""
        head, num_digits = f"{self.prefix}0{kind}", width - len(self.prefix) - 2
        if self.dialect == "sqlite":
            return sa.func.printf(f"{head}%0{num_digits}x", number)
        digits = sa.func.lpad(sa.func.to_hex(sa.cast(number, sa.BigInteger())), num_digits, "0")
        return sa.literal(head) + digits


def _numbers(name: str, first: int, end: int) -> sa.CTE:
    """A table of one column with the numbers from `first` to below `end`."""
    table = sa.select(sa.cast(sa.literal(first), sa.BigInteger()).label(name)).cte(f"numbers_{name}", recursive=True)
    return table.union_all(sa.select(table.c[name] + 1).where(table.c[name] < end - 1))


def _insert(row: type[Any], numbers: sa.FromClause, /, **values: Any) -> sa.Insert:
    """An insert of one row for each row of `numbers`."""
    columns = row.__table__.c
    given = [
        value if isinstance(value, ColumnElement) else sa.literal(value, columns[name].type)
        for name, value in values.items()
    ]
    return sa.insert(row.__table__).from_select(list(values), sa.select(*given).select_from(numbers))
