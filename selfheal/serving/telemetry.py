"""Traces and metrics by OpenTelemetry, where its variables are set and its packages are there; else nothing.

A span and a duration for each request, under the client's trace; never a value of a row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from selfheal.serving.http import Message

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
EXPORTERS = {"traces": "OTEL_TRACES_EXPORTER", "metrics": "OTEL_METRICS_EXPORTER"}
"""Variables one of which must be set; `none` and OTEL_SDK_DISABLED switch off, as OpenTelemetry says."""

_log = logging.getLogger("selfheal.serving")


class Telemetry:
    """What is told of requests, and to whom.

    Parameters
    ----------
    traces, metrics
        OpenTelemetry's providers; None: nothing of that kind is told.
    """

    def __init__(self, traces: TracerProvider | None, metrics: MeterProvider | None) -> None:
        self._providers = [each for each in (traces, metrics) if each is not None]
        self._tracer = None if traces is None else traces.get_tracer("selfheal.serving")
        self._duration = None
        if metrics is not None:
            meter = metrics.get_meter("selfheal.serving")
            self._duration = meter.create_histogram("http.server.request.duration", "s", "Duration of requests.")

    def tell(self, scope: Message, route: str, status: int, seconds: float, **more: Any) -> None:
        """Tell of a request that has just been answered.

        Parameters
        ----------
        route
            A path that is known, else ``other``.
        more
            Attributes of the span alone, such as the number of rows.
        """
        known = {"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status}
        if self._duration is not None:
            self._duration.record(seconds, known)
        if self._tracer is not None:
            from opentelemetry.trace import SpanKind, StatusCode
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            end = time.time_ns()
            span = self._tracer.start_span(
                f"{scope['method']} {route}",
                TraceContextTextMapPropagator().extract(headers),
                SpanKind.SERVER,
                known | {f"selfheal.{name}": value for name, value in more.items()},
                start_time=end - int(seconds * 1e9),
            )
            if status >= 500:
                span.set_status(StatusCode.ERROR)
            span.end(end)

    def close(self) -> None:
        """Send what waits."""
        for provider in self._providers:
            provider.shutdown()


def telemetry_of(environ: Mapping[str, str]) -> Telemetry | None:
    """What the environment asks for; None where it asks for nothing, or what it asks for is not installed."""
    asked = any(environ.get(name) for name in (*ENDPOINTS, *EXPORTERS.values()))
    if not asked or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        traces, metrics = (_exporter(kind, environ) for kind in EXPORTERS)
        return None if traces is None and metrics is None else Telemetry(_traced(traces), _metered(metrics))
    except Exception as error:  # whatever a package of somebody else's raises must not keep the service from scoring
        _log.error("nothing is told by OpenTelemetry, though its variables are set: %s", error)
        return None


def _exporter(kind: str, environ: Mapping[str, str]) -> Any:
    """What OpenTelemetry's variables name for traces or metrics; None for ``none``."""
    name = environ.get(EXPORTERS[kind], "otlp").strip()
    if name in ("", "none"):
        return None
    grpc = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc"
    wanted = {"otlp": "otlp_proto_grpc" if grpc else "otlp_proto_http"}.get(name, name)
    entry = next(iter(entry_points(group=f"opentelemetry_{kind}_exporter", name=wanted)), None)
    if entry is None:
        package = "opentelemetry-exporter-otlp" if name == "otlp" else f"the one with the {kind} exporter {name!r}"
        raise LookupError(f"no package here has the {kind} exporter {wanted!r}; install {package}")
    return entry.load()()


def _traced(exporter: Any) -> TracerProvider | None:
    if exporter is None:
        return None
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()  # names and sampler by OpenTelemetry's own variables
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _metered(exporter: Any) -> MeterProvider | None:
    if exporter is None:
        return None
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return MeterProvider([PeriodicExportingMetricReader(exporter)])
