"""A request's CPU, beside ``mlflow models serve``, an empty ASGI handler, and numpy alone behind the same server."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from tests.bench.servers import SERVE, free_port, home, request, running, turns

ROWS = 32
GOAL, EMPTY_GOAL, NUMPY_GOAL = 80.0, 2.5, 1.7

_UVICORN = """
import sys, uvicorn
def run(handle):
    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        told = handle(body)
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(told))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": told})
    options = {"loop": "uvloop" if sys.platform != "win32" else "asyncio", "http": "httptools", "lifespan": "off"}
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, proxy_headers=False, **options)
"""
_EMPTY = _UVICORN + 'run(lambda body: b"{}")\n'
_NUMPY = (
    _UVICORN
    + """
import msgspec, numpy as np
class Split(msgspec.Struct):
    columns: list[str]
    data: list[list[float]]
class Body(msgspec.Struct):
    dataframe_split: Split
read, write = msgspec.json.Decoder(Body).decode, msgspec.json.Encoder().encode
rng = np.random.default_rng(0)
shapes = (20, 32), (32, 16), (16, 1)
a, b, c = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
p, q, r = (rng.normal(size=shape[1]).astype(np.float32) for shape in shapes)
middle, unit = rng.normal(size=20), np.abs(rng.normal(size=20))
def handle(body):
    x = ((np.array(read(body).dataframe_split.data) - middle) / unit).astype(np.float32)
    z = (np.maximum(np.maximum(x.dot(a) + p, 0).dot(b) + q, 0).dot(c) + r)[:, 0].astype(np.float64)
    one = 1 / (1 + np.exp(-z))
    return write({"predictions": np.column_stack([1 - one, one]).tolist()})
run(handle)
"""
)


def run() -> list[dict[str, Any]]:
    """Eight connections; ours checks, names and logs each row, in the local file and SQLite; the peers log nothing."""
    ports = [free_port() for _ in range(4)]
    python = sys.executable
    commands = [
        (python, "-c", SERVE, str(ports[0]), "bench"),
        (python, "-c", _EMPTY, str(ports[1])),
        (python, "-c", _NUMPY, str(ports[2])),
        (
            python,
            "-m",
            "mlflow",
            "models",
            "serve",
            "-m",
            "models:/bench/1",
            "--env-manager",
            "local",
            "-p",
            str(ports[3]),
        ),
    ]
    with home("bench") as rows, contextlib.ExitStack() as stack:
        one, many = request(rows.iloc[:1]), request(rows.iloc[:ROWS])
        ours, empty, numpy, mlflow = [
            stack.enter_context(running(port, *command)) for port, command in zip(ports, commands, strict=True)
        ]
        cost = turns(
            {
                "ours": (ours, one, 4_000),
                "empty": (empty, one, 4_000),
                "many": (ours, many, 1_600),
                "numpy": (numpy, many, 1_600),
                "mlflow": (mlflow, one, 240),
            }
        )
    us = "CPU µs"
    line = {"name": "one-row requests", "unit": "requests per CPU s", "peer": "mlflow models serve"}
    return [
        line | {"value": 1e6 / cost["ours"].cpu, "peer_value": 1e6 / cost["mlflow"].cpu, "goal": ("min", GOAL)},
        {
            "name": "one-row request, logged", "value": cost["ours"].cpu, "unit": us,
            "peer": "empty ASGI handler", "peer_value": cost["empty"].cpu, "goal": ("max", EMPTY_GOAL),
        },
        {
            "name": f"a row of {ROWS}, logged", "value": cost["many"].cpu / ROWS, "unit": us,
            "peer": "JSON, numpy, JSON", "peer_value": cost["numpy"].cpu / ROWS, "goal": ("max", NUMPY_GOAL),
        },
        {
            "name": "one-row request, time passed", "value": cost["ours"].wall, "unit": "µs",
            "peer": "empty ASGI handler", "peer_value": cost["empty"].wall,
        },
        {
            "name": "the client's own CPU", "value": cost["ours"].own, "unit": us,
            "peer": "asking the empty handler", "peer_value": cost["empty"].own,
        },
    ]  # fmt: skip
