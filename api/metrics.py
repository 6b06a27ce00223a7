"""What Prometheus reads: requests by route, and the state of the queue at the moment of reading."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})


class Metrics:
    """The instruments of one API process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        labels = ["method", "route", "status"]
        self._requests = Counter("afterprop_http_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "afterprop_http_request_seconds",
            "Time to the last byte of an answer.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._jobs = Gauge("afterprop_jobs", "Jobs that have not ended.", ["class", "status"], registry=self._registry)
        self._workers = Gauge("afterprop_workers", "Live workers.", registry=self._registry)
        self._bells = Gauge("afterprop_bells", "Wake-ups sent or dropped.", ["outcome"], registry=self._registry)
        self._watched = Gauge("afterprop_streams", "Event streams that are open.", registry=self._registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request. Methods that nobody defined are counted together."""
        method = method if method in METHODS else "OTHER"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(
        self, *, jobs: Mapping[str, Mapping[str, int]], workers: int, rung: int, dropped: int, streams: int
    ) -> bytes:
        """The exposition format, with the given state of the moment."""
        self._jobs.clear()
        for resource_class, by_status in jobs.items():
            for status, count in by_status.items():
                self._jobs.labels(resource_class, status).set(count)
        self._workers.set(workers)
        self._bells.labels("rung").set(rung)
        self._bells.labels("dropped").set(dropped)
        self._watched.set(streams)
        return generate_latest(self._registry)
