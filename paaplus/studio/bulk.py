"""Roll many people back at once: first what would be done, then, with the same conditions, the act."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from paaplus.errors import InvalidInput
from paaplus.services.adapters import bulk_rollback
from paaplus.services.adapters.bulk_rollback import Selection
from paaplus.services.users import users
from paaplus.studio.calls import Call
from paaplus.texts import clean_text
from paaplus.times import parse_moment

FIELDS: Final = ("application", "since", "strategy", "run", "reason")
SHOWN: Final = 200  # people of one step; the next step goes on after them


def page(call: Call) -> Response:
    """The form of the conditions."""
    return call.page("bulk.html", form=dict.fromkeys(FIELDS, ""), found=None, is_done=False)


def roll_back(call: Call) -> Response:
    """Show what would be done; with the field `confirmed`, do it."""
    form = {name: str(call.form.get(name) or "").strip() for name in FIELDS}
    is_done = call.form.get("confirmed") == "yes"
    report = bulk_rollback.roll_back(
        call.context.database,
        _selection(form),
        feedback="exclude",
        actor=call.principal.actor,
        reason=clean_text(form["reason"], 500, "the reason"),
        dry_run=not is_done,
        limit=SHOWN,
    )
    with call.context.database.read_session() as session:
        known = users.resolve_many(session, call.principal, [str(each.user_id) for each in report.users])
        found: list[dict[str, Any]] = [
            {
                "id": str(each.user_id),
                "name": known[str(each.user_id)].external_id if str(each.user_id) in known else str(each.user_id),
                "from": each.from_number,
                "to": each.to_number,
                "error": each.error,
            }
            for each in report.users
        ]
    return call.page("bulk.html", form=form, found=found, is_done=is_done, has_more=report.next_after is not None)


def _selection(form: dict[str, str]) -> Selection:
    """The conditions of the form.

    Raises:
        InvalidInput: a time or an id is none, or nothing is selected.
    """
    try:
        since = parse_moment(f"{form['since']}Z") if form["since"] else None
        run_id = UUID(form["run"]) if form["run"] else None
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    return Selection(
        application=form["application"] or None, run_id=run_id, since=since, strategy=form["strategy"] or None
    )
