"""Watch: a person's versions, what a change would do, changes of the active version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy.orm import Session
from starlette.responses import Response

from paaplus.errors import Conflict, InvalidInput, NotFound, Unavailable
from paaplus.services import scheduling
from paaplus.services.adapters import rollbacks, versions
from paaplus.services.experts import experts
from paaplus.services.feedback import exclusions
from paaplus.services.images import images
from paaplus.services.images.filters import ImageFilter
from paaplus.services.predictions import version_quality, version_scores
from paaplus.services.predictions.version_quality import VersionQuality
from paaplus.services.users import keys, sessions, users
from paaplus.studio import sentences
from paaplus.studio.calls import Call, answer
from paaplus.studio.operation import actor_names
from paaplus.studio.people import error_of
from paaplus.texts import clean_text

COMPARED: Final = 500  # images whose scores two versions are compared by
SHOWN: Final = 12
LISTED: Final = 200  # latest versions and changes of a person on the page
MEASURED: Final = 20  # versions whose order is compared with held-out ratings
REASON_MAX: Final = 500


def person(call: Call) -> Response:
    """One person: timeline of versions, quarantined feedback, and what can be done."""
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.principal, call.request.path_params["user"])
        rows = versions.latest(session, user.id, LISTED)
        history = versions.history(session, user.id, limit=LISTED)
        open_exclusions = exclusions.list_open(session, user.id)
        names = actor_names(session)
        shown = [
            {
                "number": row.number,
                "state": row.state.value,
                "created_at": row.created_at,
                "num_ratings": row.num_ratings,
                "strategy": row.strategy,
                "error": error_of(row.metrics),
                "reason": sentences.of_gate(row.gate_report.get("reason", ""), call.t.language),
                "checks": _checks(row.gate_report, call.t.language),
                "reached": row.high_water_sequence,
            }
            for row in rows
        ]
        moves = [
            {
                "move": row.move.value,
                "from": row.details.get("from"),
                "to": row.details.get("to"),
                "actor": names.get(row.actor, row.actor),
                "reason": sentences.of_gate(row.reason or "", call.t.language),
                "created_at": row.created_at,
                "excluded": row.details.get("num_excluded", 0),
            }
            for row in history
        ]
        held = [
            {
                "sequence": event.sequence,
                "kind": exclusions.kind_of(event.exclusion),
                "reason": event.exclusion.reason,
                "created_at": event.exclusion.created_at,
            }
            for event in open_exclusions
        ]
        active = next((each["number"] for each in shown if each["state"] == "active"), None)
        values: dict[str, Any] = {
            "person": {
                "id": str(user.id),
                "name": user.external_id,
                "application": user.application,
                "events": user.feedback_sequence,
                "pending": user.pending_count,
                "pinned": user.pinned,
                "due": user.due_reason,
                "next_due_at": user.next_due_at,
                "last_trained_at": user.last_trained_at,
                "is_expert": user.id in experts.forms_of(session, [user.id]),
            },
            "policy": scheduling.policy_of(user),
        }
    quality = _quality(call, user.id, shown)
    return call.page(
        "person.html", versions=shown, quality=quality, moves=moves, held=held, active=active, chart=_chart(shown),
        **values,
    )  # fmt: skip


def preview(call: Call) -> Response:
    """What would change if another version were active: the images whose scores change most, before and after."""
    before, after = (_version(call.request.query_params.get(name, "")) for name in ("from", "to"))
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.principal, call.request.path_params["user"])
        rows = images.list_images(session, keys.of_user(user), ImageFilter(), limit=COMPARED)
    by_id = {row.id: row for row in rows}
    found = version_scores.compare(
        call.context.database, call.context.predictor.store, user.id, list(by_id), before, after
    )
    items = [
        {
            "id": str(image_id),
            "name": by_id[image_id].name or "",
            "width": by_id[image_id].width_px,
            "height": by_id[image_id].height_px,
            "before": round(old, 2),
            "after": round(new, 2),
        }
        for image_id, old, new in found.most_changed(SHOWN)
    ]
    return answer({"items": items, "num_compared": len(found.image_ids), "from": before, "to": after})


def change(call: Call) -> Response:
    """Move the active version of a person, with a reason, or let trainings use held-back feedback again."""
    act = _ACTS.get(call.request.path_params["act"])
    if act is None:
        raise NotFound("no such act")
    reason = clean_text(call.text("reason", REASON_MAX), REASON_MAX, "the reason")
    with call.context.database.session() as session:
        user = users.resolve(session, call.principal, call.request.path_params["user"])
        act(session, user.id, call, reason)
    return call.go(f"/watch/people/{user.id}")


def invite(call: Call) -> Response:
    """Make a one-time link for a person, with this person's access only, or an expert's; it is shown once."""
    with call.context.database.session() as session:
        user = users.resolve(session, call.principal, call.request.path_params["user"])
        as_expert = call.form.get("as") == "expert"
        if as_expert:
            experts.get(session, user.id)
        code = sessions.invite(session, user.id, actor=call.principal.actor, as_expert=as_expert)
        name, user_id = user.external_id, str(user.id)
    link = call.origin + call.url(f"/enter?code={code}")
    return call.page("invited.html", name=name, user_id=user_id, as_expert=as_expert, link=link)


def _roll_back(session: Session, user_id: UUID, call: Call, reason: str) -> None:
    target = _version(call.text("to", 20))
    feedback: Literal["exclude", "keep"] = "keep" if call.form.get("feedback") == "keep" else "exclude"
    active = _version(call.text("active", 20))
    if active is None:
        raise Conflict(call.t("person.nothing_active"))
    rollbacks.rollback(
        session,
        user_id,
        to="base" if target is None else target,
        active_number=active,
        feedback=feedback,
        actor=call.principal.actor,
        reason=reason,
    )


def _promote(session: Session, user_id: UUID, call: Call, reason: str) -> None:
    versions.promote(session, user_id, _number(call), actor=call.principal.actor, reason=reason)


def _pin(session: Session, user_id: UUID, call: Call, reason: str) -> None:
    versions.pin(session, user_id, _number(call), actor=call.principal.actor, reason=reason)


def _unpin(session: Session, user_id: UUID, call: Call, reason: str) -> None:
    versions.unpin(session, user_id, actor=call.principal.actor, reason=reason)


def _release(session: Session, user_id: UUID, call: Call, reason: str) -> None:
    exclusions.release(session, user_id, sequences=None, actor=call.principal.actor, reason=reason)


def _retrain(session: Session, user_id: UUID, call: Call, reason: str) -> None:
    scheduling.request_training(
        session, user_id, actor=call.principal.actor, reason=reason, settings=call.context.settings
    )


_ACTS: Final[dict[str, Callable[[Session, UUID, Call, str], None]]] = {
    "rollback": _roll_back,
    "promote": _promote,
    "pin": _pin,
    "unpin": _unpin,
    "release": _release,
    "retrain": _retrain,
}


def _checks(report: dict[str, Any], language: str) -> list[dict[str, Any]]:
    """The checks of the gate as lines: name, outcome and sentence. "untested": there was too little to measure."""
    lines = []
    for each in report.get("checks", []):
        outcome = "failed" if not each["passed"] else "untested" if each["value"] is None else "passed"
        lines.append({"name": each["name"], "outcome": outcome, "detail": sentences.of_gate(each["detail"], language)})
    return lines


def _quality(call: Call, user_id: UUID, shown: list[dict[str, Any]]) -> dict[int, VersionQuality]:
    """SRCC and forgetting of the newest versions that were live; none while there is no base model."""
    live = [each for each in shown if each["state"] in ("active", "retired")][:MEASURED]
    try:
        return version_quality.of_versions(
            call.context.database,
            call.context.predictor.store,
            call.context.settings,
            user_id,
            {each["number"]: each["reached"] for each in live},
        )
    except Unavailable:
        return {}


def _chart(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points of a line through the errors of versions that were live, in a box of 100 by 40, oldest first."""
    live = [each for each in reversed(shown) if each["error"] and each["state"] in ("active", "retired")]
    if len(live) < 2:
        return []
    step, most = 100 / (len(live) - 1), max(each["error"][0] for each in live) or 1.0
    return [{"x": round(step * i, 2), "y": round(38 - 36 * each["error"][0] / most, 2)} for i, each in enumerate(live)]


def _version(text: str) -> int | None:
    """A version's number; "base" is None: the base model."""
    if text == "base":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidInput(f"{text!r:.40} is no version")
    return int(text)


def _number(call: Call) -> int:
    number = _version(call.text("to", 20))
    if number is None:
        raise InvalidInput("the base model is no version: roll back to it")
    return number
