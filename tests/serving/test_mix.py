"""Requests of every kind, made from the service's own page and bent at random: no 500, no stall, nothing left over."""

from __future__ import annotations

import gc
import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.serving.test_swap import until

STALL_S = 0.05
"""Of the event loop's own CPU, by one request."""
POOL = 8
"""Threads that the event loop starts as it needs them, for labels and large requests."""
TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
KINDS = (
    "application/json",
    "text/csv",
    "application/json; charset=utf-8",
    "application/json; charset=utf-16",
    "a/b",
    "",
)


def of(schema: Any, page: Any) -> st.SearchStrategy[Any]:
    """Values that fit a schema of an OpenAPI page."""
    if "$ref" in schema:
        return of(page["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], page)
    if parts := schema.get("anyOf", schema.get("oneOf")):
        return st.one_of([of(part, page) for part in parts])
    kind = schema.get("type")
    if isinstance(kind, list):
        return st.one_of([of({"type": each}, page) for each in kind])
    if kind == "array":
        return st.lists(of(schema["items"], page), max_size=4)
    if kind == "object":
        fields = {name: of(each, page) for name, each in schema.get("properties", {}).items()}
        needed = set(schema.get("required", ()))
        some = {name: each for name, each in fields.items() if name not in needed}
        return st.fixed_dictionaries({name: fields[name] for name in fields if name in needed}, optional=some)
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda at: at.isoformat() + "Z")
    plain = {"string": TEXT, "number": st.floats(-1e9, 1e9) | st.integers(), "integer": st.integers()}
    return st.sampled_from(schema["enum"]) if "enum" in schema else (plain | {"boolean": st.booleans()}).get(kind, JSON)


@st.composite
def bent(draw: st.DrawFn, whole: st.SearchStrategy[Any]) -> Any:
    """A value with some part of it replaced, left out or doubled, more often than not."""
    value = json.loads(json.dumps(draw(whole)))
    for _ in range(draw(st.integers(0, 2))):
        holder, place = None, None
        inner = value
        while isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
            place = draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
            holder, inner = inner, inner[place]
        if holder is None:
            continue
        holder[place] = draw(JSON | st.just([inner, inner]))
    return value


@st.composite
def requests(draw: st.DrawFn, page: Any, bodies: list[Any]) -> tuple[str, str, bytes, dict[str, str]]:
    """Method, target, body and headers."""
    path = draw(st.sampled_from([*page["paths"], *3 * ["/invocations"], "/models/payments/invocations"]) | TEXT)
    operation = next(iter(page["paths"].get(path, {"get": {}}).values()))
    method = draw(st.sampled_from([*page["paths"].get(path, {"post": {}}), "post", "get", "put"])).upper()
    content = operation.get("requestBody", {}).get("content", {})
    schemas = [of(each["schema"], page) for each in content.values()]
    body = draw(st.one_of(*(bent(each) for each in schemas), bent(st.sampled_from(bodies)), st.binary(max_size=40)))
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    headers = {"Content-Type": draw(st.sampled_from([*4 * KINDS[:1], *KINDS]))}
    headers |= draw(
        st.sampled_from([*3 * [{}], {"X-Log": "durable"}, {"Expect": "x"}, {"Transfer-Encoding": "chunked"}])
    )
    query = draw(st.sampled_from(["", "", "?format=frame", "?format=rows", "?format=a&format=b", "?%ff"]))
    return method, quote(path, safe="/.") or "/", data, headers | ({} if not query else {"query": query})


def mixed(service: Any, examples: int) -> float:
    """Ask so many; the most CPU, in seconds, that the event loop took for one of them."""
    page, rows = service.get("/openapi.json"), service.place.model.reference.iloc[:3]
    records = rows.to_dict(orient="records")
    bodies = [
        {"dataframe_split": rows.to_dict(orient="split")},
        {"dataframe_records": records, "params": {"prediction_ids": ["a", "b", "c"], "durable": True}},
        {"instances": rows.to_numpy().tolist()},
        {"inputs": rows.to_dict(orient="list"), "params": {"event_time": ["2026-01-05T10:00:00Z"] * 3}},
    ]
    loop = next(each for each in threading.enumerate() if each.name == service.loop)
    clock = time.pthread_getcpuclockid(loop.ident)
    links = [http.client.HTTPConnection(*service.address, timeout=20)]
    most = [0.0]

    @seed(12)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(requests(page, bodies))
    def ask(request: tuple[str, str, bytes, dict[str, str]]) -> None:
        method, target, body, headers = request
        target += headers.pop("query", "")
        before = time.clock_gettime(clock)
        try:
            links[0].request(method, target, body, headers, encode_chunked="Transfer-Encoding" in headers)
            answered = links[0].getresponse()
            status, told = answered.status, answered.read()
        except (http.client.HTTPException, ConnectionError):  # it was closed, as after a refused upload
            links[0].close()
            links[0] = http.client.HTTPConnection(*service.address, timeout=20)
            return
        most[0] = max(most[0], time.clock_gettime(clock) - before)
        assert status != 500 and status < 600, (request, told)

    gc.disable()  # to go through what hypothesis leaves takes a fifth of a second; a service has a process of its own
    try:
        ask()
    finally:
        gc.enable()
        links[0].close()
    return most[0]


def held(service: Any) -> tuple[int, int]:
    """Descriptors, and threads."""
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def kept(service: Any, before: tuple[int, int]) -> bool:
    """Whether no more is held than before, connections none; but for threads of the loop's pool and what they use."""
    fits = all(now <= then + POOL for now, then in zip(held(service), before, strict=True))
    return fits and until(lambda: not service.server.server_state.connections)


@pytest.fixture
def payments(adopt_in, serve_in_thread, tmp_path):
    place = adopt_in("payments", tmp_path)
    with serve_in_thread(place.config(poll_s=0.1)) as service:
        service.place = place
        yield service


def test_no_request_fails_the_service_or_leaves_anything_behind(payments):
    mixed(payments, 5)
    before = held(payments)
    mixed(payments, 60)
    assert kept(payments, before), (before, held(payments))


@pytest.mark.prove
def test_none_of_thousands_fails_stalls_or_leaves_anything_behind(payments):
    mixed(payments, 100)
    before = held(payments)
    most = mixed(payments, 3_000)
    assert kept(payments, before), (before, held(payments))
    print(
        f"3,000 requests, no 500; at most {most * 1e3:.1f} ms of the event loop's CPU for one; {before} held as before"
    )
    assert most < STALL_S


@pytest.mark.prove
def test_schemathesis_finds_nothing(payments, tmp_path):
    """Its command line, where it is installed: each operation, with valid bodies and others, is as the page says."""
    program = shutil.which("st")
    if program is None:
        pytest.skip("the command `st` of Schemathesis is not here: pip install schemathesis")
    checks = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"
    options = ["--max-examples", "150", "--seed", "2", "--suppress-health-check", "all", "-c", checks]
    command = [program, "run", f"{payments.url}/openapi.json", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-4_000:]
    print(next(line for line in done.stdout.splitlines() if "generated" in line and "passed" in line).strip())
