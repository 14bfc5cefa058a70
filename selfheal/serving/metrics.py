"""Counters of one process, and their Prometheus text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from selfheal.serving.log_state import LogState

BOUNDS_MS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 100.0, 1000.0)
"""Upper bounds of the latency histogram's buckets: around the 0.1 ms of a one-row request, up to a stuck machine."""


@dataclass
class Metrics:
    """Requests by status, rows, and a latency histogram of /invocations (milliseconds, up to the scored answer)."""

    requests: dict[tuple[str, int], int] = field(default_factory=dict)
    rows: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    latency_ms: float = 0.0

    def answered(self, path: str, status: int) -> None:
        """Count a response."""
        key = (path, status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def scored(self, rows: int, ms: float) -> None:
        """Count scored rows and the time they took."""
        self.rows += rows
        self.latency_ms += ms
        self.buckets[bisect_left(BOUNDS_MS, ms)] += 1

    def text(self, model: str, version: int, pointer_age: float, swaps: int, log: LogState) -> str:
        """Everything in Prometheus' text format."""
        label = f'model="{model}"'
        lines = ["# TYPE selfheal_requests_total counter"]
        for (path, status), count in sorted(dict(self.requests).items()):  # at once: other threads count
            lines.append(f'selfheal_requests_total{{{label},path="{path}",status="{status}"}} {count}')
        lines += ["# TYPE selfheal_request_seconds histogram"]
        total = 0
        for bound, count in zip((*BOUNDS_MS, None), self.buckets, strict=True):
            total += count
            upper = "+Inf" if bound is None else f"{bound / 1000:g}"
            lines.append(f'selfheal_request_seconds_bucket{{{label},le="{upper}"}} {total}')
        lines += [
            f"selfheal_request_seconds_sum{{{label}}} {self.latency_ms / 1000:.6f}",
            f"selfheal_request_seconds_count{{{label}}} {total}",
        ]
        values = (
            ("rows_total", "counter", self.rows),
            ("log_rows_written_total", "counter", log.written),
            ("log_rows_dropped_total", "counter", log.dropped),
            ("log_rows_refused_total", "counter", log.refused),
            ("log_rows_replayed_total", "counter", log.replayed),
            ("log_rows_torn_total", "counter", log.torn),
            ("log_rows_waiting", "gauge", log.waiting),
            ("log_spill_bytes", "gauge", log.spill_bytes),
            ("log_spill_fault", "gauge", bool(log.spill_error)),
            ("model_version", "gauge", version),
            ("pointer_age_seconds", "gauge", round(pointer_age, 3)),
            ("swaps_total", "counter", swaps),
        )
        return "\n".join(lines) + "\n" + gauges(model, values)


def gauges(model: str, values: Iterable[tuple[str, str, float]]) -> str:
    """Single values, each a name, its Prometheus type and the value."""
    return "".join(
        f'# TYPE selfheal_{name} {kind}\nselfheal_{name}{{model="{model}"}} {value:.15g}\n'
        for name, kind, value in values
    )


def refused(model: str, totals: Mapping[tuple[str, str], int]) -> str:
    """Rows that were refused, by reason and column."""
    lines = ["# TYPE selfheal_refused_rows_total counter"]
    for (reason, column), rows in sorted(dict(totals).items()):
        name = column.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'selfheal_refused_rows_total{{model="{model}",reason="{reason}",column="{name}"}} {rows}')
    return "\n".join(lines) + "\n"


def merged(texts: Iterable[str]) -> str:
    """The texts of some models as one, in which every metric is told once, with the values of all."""
    metrics: dict[str, list[str]] = {}
    for text in texts:
        samples: list[str] = []
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                samples = metrics.setdefault(line, [])
            else:
                samples.append(line)
    return "".join(f"{line}\n" for head, values in metrics.items() for line in (head, *values))
