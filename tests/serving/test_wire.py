"""TLS, how many connections, and what OpenTelemetry is told."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from selfheal.errors import InputError
from selfheal.serving import serve
from selfheal.serving.models import create_models
from selfheal.serving.telemetry import Telemetry, telemetry_of
from selfheal.serving.wire import Wire
from tests.serving.test_keys import split

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """A certificate of localhost and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    (tmp_path / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*plain, serialization.NoEncryption()))
    locked = serialization.BestAvailableEncryption(b"open sesame")
    (tmp_path / "locked.pem").write_bytes(key.private_bytes(*plain, locked))
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")


def test_requests_come_by_tls(place, serve_app, pair):
    wire = Wire(*pair)
    wire.check()
    assert (wire.scheme, Wire().scheme) == ("https", "http")
    app = create_models([place.config()])
    with serve_app(app, "on", ssl_certfile=wire.cert, ssl_keyfile=wire.key, proxy_headers=False) as service:
        url = service.url.replace("http://127.0.0.1", "https://localhost")
        body, context = json.dumps(split()).encode(), ssl.create_default_context(cafile=wire.cert)
        request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20, context=context) as response:
            assert json.loads(response.read())["model_version"] == 1
        with pytest.raises(OSError):
            urllib.request.urlopen(f"{service.url}/ping", timeout=20)


def test_what_is_no_certificate_is_refused_before_anything_is_opened(pair, tmp_path):
    cert, key = pair
    (tmp_path / "none.pem").write_text("-----BEGIN NOTHING-----")
    for wire, words in (
        (Wire(cert), "--tls-cert without --tls-key"),
        (Wire(None, key), "--tls-key without --tls-cert"),
        (Wire(str(tmp_path / "none.pem"), key), "are no certificate and its key"),
        (Wire(cert, str(tmp_path / "away.pem")), "cannot be read: No such file"),
        (Wire(cert, str(tmp_path / "locked.pem")), "the private key is encrypted"),
    ):
        with pytest.raises(InputError, match=words):
            serve("nobody", wire=wire)


def test_more_connections_than_may_be_are_refused_and_counted(place, serve_app):
    assert Wire(connections=7).most == 7 and (Wire().most or 16) >= 16
    app = create_models([place.config()])
    app.connections = 2
    with serve_app(app, "on", proxy_headers=False) as service:
        held = [socket.create_connection(service.address) for _ in range(2)]
        for each in held:
            each.sendall(b"GET /ping HTTP/1.1\r\nhost: here\r\n\r\n")
            assert each.recv(4096).startswith(b"HTTP/1.1 200")
        status, told = service.ask("/ping", None)
        assert (status, told["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE") and "2 connections" in told["message"]
        for each in held:
            each.close()
        deadline = datetime.now(UTC) + timedelta(seconds=15)
        while service.ask("/ping", None)[0] != 200:
            assert datetime.now(UTC) < deadline
        assert 'selfheal_requests_total{model="weather",path="other",status="503"}' in service.get("/metrics")


def test_opentelemetry_is_told_of_each_request_and_of_no_value(place, serve_app):
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, reader, traces = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    app = create_models([place.config()])
    app.tell(Telemetry(traces, MeterProvider([reader])))
    with serve_app(app, "on", proxy_headers=False) as service:
        assert (
            service.post("/invocations", split(temp=31.41592), traceparent=f"00-{TRACE}-b7ad6b7169203331-01")[0] == 200
        )
        assert service.post("/invocations", split(temp="Ms. Miller"))[0] == 400
        assert service.ask("/Miller?key=Miller", None)[0] == 404
    good, bad, lost = spans.get_finished_spans()
    assert (good.name, f"{good.context.trace_id:032x}") == ("POST /invocations", TRACE)
    assert good.attributes["http.response.status_code"] == 200 and good.attributes["selfheal.rows"] == 1
    assert bad.attributes["http.response.status_code"] == 400 and f"{bad.context.trace_id:032x}" != TRACE
    assert lost.attributes["http.route"] == "other" and good.end_time > good.start_time
    counted = reader.get_metrics_data().to_json()
    assert "http.server.request.duration" in counted
    for secret in ("Miller", "31.41"):
        assert secret not in counted and not any(secret in span.to_json() for span in spans.get_finished_spans())


def test_nothing_is_told_unless_it_is_asked_for_and_there(caplog):
    assert telemetry_of({}) is None and not caplog.records
    asked = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none"}
    assert telemetry_of(asked | {"OTEL_SDK_DISABLED": "true"}) is None and not caplog.records
    found = telemetry_of(asked)
    assert found is not None
    found.close()
    assert telemetry_of(asked | {"OTEL_TRACES_EXPORTER": "smoke"}) is None
    assert "no package here has the traces exporter 'smoke'" in caplog.text
