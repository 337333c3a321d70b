"""What the page of health warns of: the limits are those of the alerts, and every warning has its text."""

from __future__ import annotations

from pathlib import Path

import pytest

from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.tables.models import PointerMove
from paaplus.services.operations.status import Status
from paaplus.studio import health
from paaplus.studio.texts import LANGUAGES, Texts

QUIET = Status(num_jobs=dict.fromkeys(JobState, 0), num_due_users=0, oldest_due_s=0.0, oldest_ready_s={"cpu": 0.0})
ALERTS = Path(__file__).parents[2] / "docs" / "operations" / "alerts.yml"


def with_changes(**changes: object) -> Status:
    values = {name: getattr(QUIET, name) for name in Status.__slots__}
    return Status(**(values | changes))


def test_a_quiet_platform_warns_of_nothing() -> None:
    assert list(health.warnings(QUIET)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"oldest_ready_s": {"cpu": 21.4, "gpu": 0.0}}, ("watch.away", {"seconds": 21})),
        ({"oldest_due_s": 301.0, "num_due_users": 4}, ("health.scheduler", {"people": 4, "jobs": 0})),
        ({"num_expired_leases": 1}, ("health.scheduler", {"people": 0, "jobs": 1})),
        ({"num_failures": {(JobKind.ADAPT, JobState.DEAD, "damaged"): 2}}, ("health.given_up", {"number": 2})),
        ({"num_failures": {(JobKind.ADAPT, JobState.QUEUED, "crashed"): 51}}, ("health.retried", {"number": 51})),
        (
            {"num_gate_outcomes": {PointerMove.GATE_REFUSED: 21, PointerMove.GATE_PROMOTED: 3}},
            ("health.refuses", {"refused": 21, "promoted": 3}),
        ),
        ({"num_stale_adapters": 5}, ("health.stale_now", {"number": 5})),
        ({"num_untrained_feedback": 10_001}, ("health.lag", {"number": 10_001})),
        ({"num_deliveries": {"failed": 1, "disabled": 2}}, ("health.webhooks", {"number": 3, "disabled": 0})),
    ],
)
def test_each_trouble_is_told_once_in_every_language(
    changes: dict[str, object], expected: tuple[str, dict[str, int]]
) -> None:
    assert list(health.warnings(with_changes(**changes))) == [expected]
    key, values = expected
    for language in LANGUAGES:
        assert str(next(iter(values.values()))) in Texts(language)(key, **values)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_failures": {(JobKind.ADAPT, JobState.QUEUED, "crashed"): 50}},
        {"num_gate_outcomes": {PointerMove.GATE_REFUSED: 21, PointerMove.GATE_PROMOTED: 21}},
        {"num_untrained_feedback": 10_000},
    ],
)
def test_what_is_within_the_limits_is_no_trouble(changes: dict[str, object]) -> None:
    assert list(health.warnings(with_changes(**changes))) == []


def test_limits_are_those_of_the_alerts() -> None:
    rules = ALERTS.read_text("utf-8")
    for expression in (
        f"max(paaplus_oldest_due_seconds) > {health.DUE_S:.0f}",
        f'paaplus_job_failures{{state="queued"}})) > {health.RETRIED}',
        f'paaplus_gate_outcomes{{outcome="refused"}}) > {health.REFUSED}',
        f"max(paaplus_untrained_feedback) > {health.LAG}",
    ):
        assert expression in rules
