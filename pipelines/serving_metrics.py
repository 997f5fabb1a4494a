"""What a server counts, for Prometheus."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """A registry of its own, so that two servers in one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of: Any = {"registry": self.registry}
        self.requests = Counter(
            "outplant_requests", "Requests answered or refused.", ["task", "status"], **of
        )
        self.seconds = Histogram(
            "outplant_request_seconds", "From request to answer.", ["task"], buckets=SECONDS, **of
        )
        self.items = Counter("outplant_items", "Texts answered.", ["task"], **of)
        self.batch = Histogram(
            "outplant_batch_items", "Texts answered at once.", ["task"], buckets=ROWS, **of
        )
        self.waiting = Gauge("outplant_waiting_items", "Texts that wait.", ["task"], **of)
        self.version = Gauge("outplant_version", "Version that answers.", ["task"], **of)
        self.refused = Counter(
            "outplant_versions_refused", "Versions that failed their self-test.", ["task"], **of
        )
        self.registry_up = Gauge("outplant_registry_up", "Whether the registry answers.", **of)
        self.shadowed = Counter(
            "outplant_shadow_items", "Texts for the challenger.", ["task", "outcome"], **of
        )

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
