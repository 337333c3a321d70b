"""Prometheus metrics of the API. Counts of the database are read anew every few seconds, see `scrapes` for the text.

With several processes (`paaplus api --workers N`) they count in shared files, in the folder of the variable
`PROMETHEUS_MULTIPROC_DIR`: every process answers a scrape with the sums over all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from sqlalchemy.exc import SQLAlchemyError

from paaplus import pauses
from paaplus.db.engine import Database
from paaplus.services.operations import status
from paaplus.services.operations.status import Status
from paaplus.settings import Settings

MULTIPROC_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported
COUNTS_FRESH_S: Final = 5.0  # two of the counts of the database look at all users and jobs
LINES_AT_ONCE: Final = 50  # of the text: some .3 ms

log = structlog.get_logger(__name__)


class CacheNumbers(Protocol):
    """What a cache tells of itself."""

    @property
    def num_hits(self) -> int: ...

    @property
    def num_misses(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...


class Metrics:
    """The metrics, in a registry of their own, so that tests can build several applications in one process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        self._gauges = _DatabaseCollector(database, settings)
        if MULTIPROC_DIR not in os.environ:  # these tell about one process
            ProcessCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self.registry.register(self._gauges)
        self.requests = Counter(
            "paaplus_requests", "HTTP requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "paaplus_request_seconds",
            "Time until the answer was complete.",
            ["method", "route"],
            registry=self.registry,
        )
        self.feedback_accepted = Counter(
            "paaplus_feedback_accepted", "New feedback events stored.", registry=self.registry
        )
        self.predictions = Counter(
            "paaplus_predictions", "Predicted items.", ["status", "source"], registry=self.registry
        )

        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}

    def count_request(self, method: str, route: str, status_code: int, seconds: float | None) -> None:
        """Count a request. The labels have few values, so what counts for them is kept.

        Args:
            seconds: until the answer was complete; None: of a stream, which is as long as its reader wishes.
        """
        counter = self._counters.get((method, route, status_code))
        if counter is None:
            counter = self.requests.labels(method, route, str(status_code))
            self._counters[method, route, status_code] = counter
        counter.inc()
        if seconds is None:
            return
        histogram = self._histograms.get((method, route))
        if histogram is None:
            histogram = self._histograms[method, route] = self.request_seconds.labels(method, route)
        histogram.observe(seconds)

    def watch_caches(self, caches: Mapping[str, CacheNumbers]) -> None:
        """Report hits, misses and bytes of this process's caches, by name."""
        self.registry.register(_CacheCollector(caches))

    def render(self) -> bytes:
        """The text of a scrape. Between its parts others go first: it takes milliseconds, and anybody may ask."""
        if MULTIPROC_DIR not in os.environ:
            return generate_latest(_InParts(self.registry))
        summed = CollectorRegistry()
        MultiProcessCollector(summed)  # type: ignore[no-untyped-call]
        summed.register(self._gauges)
        return generate_latest(_InParts(summed))


class _InParts(Collector):
    """The families of a registry, with pauses while their samples are written."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for family in self._registry.collect():
            family.samples = _Samples(family.samples)
            yield family


class _Samples(list[Sample]):
    """Samples, with pauses."""

    def __iter__(self) -> Iterator[Sample]:
        for number, sample in enumerate(super().__iter__()):
            if number % LINES_AT_ONCE == 0:
                pauses.pause()
            yield sample


class _CacheCollector(Collector):
    """Hits, misses and sizes of caches of this process."""

    def __init__(self, caches: Mapping[str, CacheNumbers]) -> None:
        self._caches = caches

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        lookups = CounterMetricFamily("paaplus_cache_lookups", "Looked up in a cache.", labels=["cache", "result"])
        sizes = GaugeMetricFamily("paaplus_cache_bytes", "Bytes of the entries of a cache.", labels=["cache"])
        for name, cache in self._caches.items():
            lookups.add_metric([name, "hit"], cache.num_hits)
            lookups.add_metric([name, "miss"], cache.num_misses)
            sizes.add_metric([name], cache.size_bytes)
        yield lookups
        yield sizes


class _DatabaseCollector(Collector):
    """Gauges of the whole deployment, as of the last `COUNTS_FRESH_S`: every process reports the same values."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._known: tuple[float, Status] | None = None

    def describe(self) -> Iterable[Metric]:
        return []  # registering the collector must not query

    def collect(self) -> Iterable[Metric]:
        try:
            now = self._status()
        except SQLAlchemyError as error:  # the other metrics are needed most when the database fails
            log.warning("metrics_without_database", error=type(error).__name__)
            return
        yield from _gauges(now)

    def _status(self) -> Status:
        if self._known is None or time.monotonic() - self._known[0] > COUNTS_FRESH_S:
            self._known = None
            with self._database.read_session() as session:
                found = status.read(session, self._settings)
            self._known = (time.monotonic(), found)
        return self._known[1]


def _gauges(now: Status) -> Iterable[Metric]:
    yield _by_label("paaplus_jobs", "Jobs by state.", ["state"], {(s.value,): n for s, n in now.num_jobs.items()})
    yield GaugeMetricFamily("paaplus_due_users", "Users who are due and have no job yet.", value=now.num_due_users)
    yield GaugeMetricFamily(
        "paaplus_oldest_due_seconds",
        "Longest time that a due user has waited for the scheduler.",
        value=now.oldest_due_s,
    )
    yield _by_label(
        "paaplus_oldest_ready_job_seconds",
        "Longest time that a ready job has waited for a worker.",
        ["queue"],
        {(queue,): seconds for queue, seconds in now.oldest_ready_s.items()},
    )
    yield GaugeMetricFamily(
        "paaplus_expired_leases", "Jobs whose lease expired and that no scan took back.", value=now.num_expired_leases
    )
    yield _by_label(
        "paaplus_job_failures",
        "Failed jobs by reason: queued jobs will be tried again; dead jobs were given up in the last 24 hours.",
        ["kind", "state", "reason"],
        {(kind.value, state.value, reason): n for (kind, state, reason), n in now.num_failures.items()},
    )
    yield _by_label(
        "paaplus_gate_outcomes",
        "Decisions of the gate in the last 24 hours.",
        ["outcome"],
        {(move.value.removeprefix("gate_"),): n for move, n in now.num_gate_outcomes.items()},
    )
    yield GaugeMetricFamily(
        "paaplus_stale_adapters",
        "Active versions of a base model that is not the default: their users get generic scores.",
        value=now.num_stale_adapters,
    )
    yield GaugeMetricFamily(
        "paaplus_untrained_feedback", "Events that no training has read yet.", value=now.num_untrained_feedback
    )
    yield _by_label(
        "paaplus_deliveries",
        "Deliveries to webhooks: sent and failed (given up) of the last 24 hours; waiting for a try; waiting for a "
        "webhook that is disabled.",
        ["state"],
        {(state,): n for state, n in now.num_deliveries.items()},
    )
    yield GaugeMetricFamily(
        "paaplus_disabled_webhooks", "Webhooks to which nothing is sent.", value=now.num_disabled_webhooks
    )


def _by_label(name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
