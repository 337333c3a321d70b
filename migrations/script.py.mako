<%!
    def code(operations):
        """The operations without Alembic's request to review them, which whoever commits them has heeded."""
        lines = [line for line in (operations or "pass").splitlines() if "# ###" not in line]
        return "\n".join(lines).strip()
%>\
"""${message[0].upper()}${message[1:]}."""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${code(upgrades)}


def downgrade() -> None:
    ${code(downgrades)}
