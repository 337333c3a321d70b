"""Health: what waits, what failed, and what `paaplus doctor` and the alerts would say of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any, Final

from starlette.responses import Response

from paaplus.services.operations import readiness, status
from paaplus.services.operations.status import Status
from paaplus.services.registry import base_models
from paaplus.studio.calls import Call

# The limits of docs/operations/alerts.yml and of `paaplus doctor`.
DUE_S: Final = 300.0
WORKER_S: Final = 20.0  # an alert waits for a quarter of an hour; who looks wants to know at once
RETRIED: Final = 50
REFUSED: Final = 20
LAG: Final = 10_000
DISK_BYTES: Final = 2 * 2**30

Warned = tuple[str, dict[str, Any]]  # key of a text, and its values


def page(call: Call) -> Response:
    """What is wrong, each with what to do, and the numbers."""
    checks = readiness.Readiness(call.context.database, call.context.blobs)
    with call.context.database.read_session() as session:
        now = status.read(session, call.context.settings)
        has_base = base_models.find_default(session, call.context.settings) is not None
    problems = []
    try:
        checks.check()
    except Exception as error:  # the page says what is wrong, whatever it is
        problems.append(str(error))
    warned = list(warnings(now))
    if not has_base:
        warned.append(("health.no_base", {}))
    home = call.context.settings.home
    if home.exists() and (free := shutil.disk_usage(home).free) < DISK_BYTES:
        warned.append(("health.disk", {"megabytes": free // 2**20}))
    return call.page("health.html", now=now, problems=problems, warned=warned)


def warnings(now: Status) -> Iterator[Warned]:
    """What an operator should see to."""
    if (waits := max(now.oldest_ready_s.values())) > WORKER_S:
        yield "watch.away", {"seconds": round(waits)}
    if now.oldest_due_s > DUE_S or now.num_expired_leases:
        yield "health.scheduler", {"people": now.num_due_users, "jobs": now.num_expired_leases}
    failed = {"dead": 0, "queued": 0}
    for (_, state, _), number in now.num_failures.items():
        failed[state.value] += number
    if failed["dead"]:
        yield "health.given_up", {"number": failed["dead"]}
    if failed["queued"] > RETRIED:
        yield "health.retried", {"number": failed["queued"]}
    gate = {move.value: number for move, number in now.num_gate_outcomes.items()}
    refused, promoted = gate.get("gate_refused", 0), gate.get("gate_promoted", 0)
    if refused > REFUSED and refused > promoted:
        yield "health.refuses", {"refused": refused, "promoted": promoted}
    if now.num_stale_adapters:
        yield "health.stale_now", {"number": now.num_stale_adapters}
    if now.num_untrained_feedback > LAG:
        yield "health.lag", {"number": now.num_untrained_feedback}
    lost = now.num_deliveries.get("failed", 0) + now.num_deliveries.get("disabled", 0)
    if lost or now.num_disabled_webhooks:
        yield "health.webhooks", {"number": lost, "disabled": now.num_disabled_webhooks}
