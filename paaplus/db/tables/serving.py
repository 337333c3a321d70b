"""The log of what changes who is served by what."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base, partial


class ServingChangeRow(Base):
    """A user who is served by something else since a transaction, or does not exist any more.

    Triggers of the database write it (`paaplus/db/triggers.py`), so no writer can forget it. There is no key to users:
    the row of an erased user tells of the erasure.

    `number` grows by one with each row on SQLite, in the order of commits; an empty log begins with the microseconds
    since 1970. On PostgreSQL it is only a key: `transaction_id` is there the 64-bit id of the transaction, 0 on SQLite.
    """

    __tablename__ = "serving_changes"
    # On SQLite it has no rows, so that it costs writers nothing.
    __table_args__ = (partial("ix_serving_changes_transaction_id", "transaction_id", where="transaction_id > 0"),)

    number: Mapped[int] = mapped_column(sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)
    transaction_id: Mapped[int] = mapped_column(sa.BigInteger)
    user_id: Mapped[UUID]
