"""Watch: jobs, who is due, quotas, audit."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from paaplus.services import audit, scheduling
from paaplus.services.operations import jobs, schedule
from paaplus.services.users import keys, quotas, users
from paaplus.studio.calls import Call

PAGE: Final = 60
ALL_KEYS: Final = 200


def job_list(call: Call) -> Response:
    """The newest jobs."""
    with call.context.database.read_session() as session:
        rows = jobs.list_jobs(session, call.principal, limit=PAGE)
        found = users.resolve_many(session, call.principal, {str(row.user_id) for row in rows if row.user_id})
        shown = [
            {
                "kind": row.kind.value,
                "state": row.state.value,
                "user": found[str(row.user_id)].external_id if str(row.user_id) in found else None,
                "user_id": str(row.user_id) if row.user_id else None,
                "reason": row.reason,
                "created_at": row.created_at,
                "seconds": (
                    (row.finished_at - row.started_at).total_seconds() if row.finished_at and row.started_at else None
                ),
                "done": row.progress_done,
                "total": row.progress_total,
                "error": (row.last_error or "")[:300],
            }
            for row in rows
        ]
    return call.page("jobs.html", jobs=shown)


def schedule_list(call: Call) -> Response:
    """Who is trained next, when and why; what is on its way already; and the rules that decide it."""
    settings = call.context.settings
    with call.context.database.read_session() as session:
        rows, now = schedule.list_due(session, limit=PAGE)
        waiting = schedule.list_enqueued(session, limit=PAGE)
        found = users.resolve_many(session, call.principal, {str(row.user_id) for row in waiting if row.user_id})
        due = [
            {
                "id": str(row.id),
                "name": row.external_id,
                "application": row.application,
                "pending": row.pending_count,
                "reason": row.due_reason or "",
                "at": row.next_due_at,
                "in_s": round((row.next_due_at - now).total_seconds()),
                "every": scheduling.policy_of(row).min_new_feedback,
                "is_paused": scheduling.policy_of(row).paused,
            }
            for row in rows
            if row.next_due_at is not None
        ]
        enqueued = [
            {
                "id": str(row.user_id),
                "name": found[str(row.user_id)].external_id if str(row.user_id) in found else "",
                "state": row.state.value,
                "reason": row.reason,
                "worker": row.worker or "",
                "since": row.started_at or row.run_after,
            }
            for row in waiting
        ]
        reasons = schedule.count_by_reason(session)
    return call.page(
        "schedule.html",
        due=due,
        enqueued=enqueued,
        reasons=reasons,
        policy=scheduling.default_policy(),
        scan_s=settings.scan_interval_s,
        cohort=settings.claim_size,
        weights=settings.application_weights,
    )


def quota_list(call: Call) -> Response:
    """The rate limits of applications' keys and how much of them is used; with `people`, of people's keys."""
    of_people = call.request.query_params.get("of") == "people"
    with call.context.database.read_session() as session:
        found = quotas.read(session, call.context.allowances, people=of_people, limit=ALL_KEYS)
        named = users.resolve_many(session, call.principal, {str(each.user_id) for each in found if each.user_id})
        people = {each.user_id: named[str(each.user_id)].external_id for each in found if str(each.user_id) in named}
    shown = [
        {
            "name": each.name,
            "person": people.get(each.user_id),
            "scope": each.scope.value,
            "application": each.application or "",
            "quotas": [
                {
                    "kind": quota.kind.value,
                    "amount": f"{quota.limit.amount:,}",
                    "used": f"{round(quota.share_used * quota.limit.amount):,}",
                    "share": round(quota.share_used, 4),
                    "per_day": quota.limit.window_s > 3_600,
                }
                for quota in each.quotas
            ],
        }
        for each in found
    ]
    return call.page("quotas.html", keys=shown, of_people=of_people, has_more=len(shown) == ALL_KEYS)


def audit_list(call: Call) -> Response:
    """The newest privileged acts, and whether the chain of all is intact."""
    with call.context.database.read_session() as session:
        rows = audit.list_entries(session, limit=PAGE)
        report = audit.verify(session)
        names = actor_names(session)
        shown = [
            {
                "action": row.action,
                "actor": names.get(row.actor, row.actor),
                "details": ", ".join(
                    f"{name} {_plain(value)}" for name, value in row.details.items() if value not in ([], "")
                ),
                "created_at": row.created_at,
            }
            for row in rows
        ]
    return call.page("audit.html", entries=shown, report=report)


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def actor_names(session: Any) -> dict[str, str]:
    """Names of keys, by the actor that history and audit write."""
    return {f"key:{row.id}": row.name for row in keys.list_keys(session, limit=1000)}
