"""Prometheus metrics of one API process. What the database knows is counted when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from paaplus.db.engine import Database
from paaplus.services import status

log = structlog.get_logger(__name__)


class Metrics:
    """The metrics, in a registry of their own: several applications may live in one process (tests do)."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(_DatabaseCollector(database))
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

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        return []  # so that registering does not query

    def collect(self) -> Iterable[Metric]:
        try:
            with self._database.read_session() as session:
                now = status.read(session)
        except SQLAlchemyError as error:  # the other metrics are worth having, now most of all
            log.warning("metrics_without_database", error=type(error).__name__)
            return
        jobs = GaugeMetricFamily("paaplus_jobs", "Jobs by state.", labels=["state"])
        for state, count in now.num_jobs.items():
            jobs.add_metric([state.value], count)
        yield jobs
        yield GaugeMetricFamily("paaplus_due_users", "Users who wait to be scheduled.", value=now.num_due_users)
