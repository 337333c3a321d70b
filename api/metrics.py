"""Prometheus metrics of one API process. What the database knows is counted when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from paaplus.db.engine import Database
from paaplus.services.operations import status
from paaplus.services.operations.status import Status
from paaplus.settings import Settings

log = structlog.get_logger(__name__)


class Metrics:
    """The metrics, in a registry of their own: several applications may live in one process (tests do)."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(_DatabaseCollector(database, settings))
        self.requests = Counter(
            "paaplus_requests", "HTTP requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "paaplus_request_seconds", "Time to the end of the answer.", ["method", "route"], registry=self.registry
        )
        self.feedback_accepted = Counter(
            "paaplus_feedback_accepted", "Feedback events kept for the first time.", registry=self.registry
        )
        self.predictions = Counter(
            "paaplus_predictions", "Predicted items.", ["status", "source"], registry=self.registry
        )

    def render(self) -> bytes:
        return generate_latest(self.registry)


class _DatabaseCollector(Collector):
    """Gauges that every process would report alike: they are the deployment's, not the process's."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def describe(self) -> Iterable[Metric]:
        return []  # so that registering does not query

    def collect(self) -> Iterable[Metric]:
        try:
            with self._database.read_session() as session:
                now = status.read(session, self._settings)
        except SQLAlchemyError as error:  # the other metrics are worth having, now most of all
            log.warning("metrics_without_database", error=type(error).__name__)
            return
        yield from _gauges(now)


def _gauges(now: Status) -> Iterable[Metric]:
    yield _by_label("paaplus_jobs", "Jobs by state.", ["state"], {(s.value,): n for s, n in now.num_jobs.items()})
    yield GaugeMetricFamily("paaplus_due_users", "Users who wait to be scheduled.", value=now.num_due_users)
    yield GaugeMetricFamily(
        "paaplus_oldest_due_seconds", "How long the first of them has waited: for a scheduler.", value=now.oldest_due_s
    )
    yield _by_label(
        "paaplus_oldest_ready_job_seconds",
        "How long the first job that could run has waited: for a worker.",
        ["queue"],
        {(queue,): seconds for queue, seconds in now.oldest_ready_s.items()},
    )
    yield GaugeMetricFamily(
        "paaplus_expired_leases", "Jobs of silent workers that nobody took back.", value=now.num_expired_leases
    )
    yield _by_label(
        "paaplus_job_failures",
        "Failed jobs by reason: queued ones will be tried again, dead ones were given up within a day.",
        ["kind", "state", "reason"],
        {(kind.value, state.value, reason): n for (kind, state, reason), n in now.num_failures.items()},
    )
    yield _by_label(
        "paaplus_gate_outcomes",
        "What the gate decided within a day.",
        ["outcome"],
        {(move.value.removeprefix("gate_"),): n for move, n in now.num_gate_outcomes.items()},
    )
    yield GaugeMetricFamily(
        "paaplus_stale_adapters",
        "Live versions made for another base model than the default: their users get plain scores.",
        value=now.num_stale_adapters,
    )
    yield GaugeMetricFamily(
        "paaplus_untrained_feedback", "Events that no training has seen yet.", value=now.num_untrained_feedback
    )


def _by_label(name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
