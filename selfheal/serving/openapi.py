"""The service as an OpenAPI 3.1 page, made from its routes and from the columns of the model that serves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from selfheal.parts.signature import Signature
from selfheal.serving.http import OPEN, Route

Schema = dict[str, Any]

VERSION: str = import_module("selfheal").__version__  # not `from selfheal import`: the package leads to all of itself

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
TRUTH: Schema = {"type": "boolean"}
_DTYPES = {"float": NUMBER, "int": NUMBER, "bool": {"type": ["boolean", "number"]}, "str": TEXT}
ANY: Schema = {}
NONE: Mapping[str, Schema] = {}


def array(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def record(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, *, more: bool = False
) -> Schema:
    """An object with these fields, and others only where ``more``."""
    fields = {**required, **(optional or {})}
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": more}


def ref(name: str) -> Schema:
    """One of the schemas by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def openapi(name: str, model: Signature, routes: Mapping[str, Route]) -> dict[str, Any]:
    """The page.

    Parameters
    ----------
    name, model
        Of the model.
    routes
        As the application has them, by path.
    """
    described = _described(f"/v2/models/{name}")
    paths = {path: {route.method.lower(): _opened(described[path], route)} for path, route in routes.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"selfheal: {name}", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": _bodies(model) | _answers() | _tensors(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _described(model: str) -> dict[str, Any]:
    """Every operation by its path."""
    formats = {"type": "string", "enum": ["rows", "frame"]}
    query = {"name": "format", "in": "query", "schema": formats, "description": "a list a row, or an object by class"}
    durable = {"name": "X-Log", "in": "header", "schema": {"type": "string", "enum": ["durable"]}}
    rows = {"application/json": {"schema": ref("Rows")}, "text/csv": {"schema": TEXT}}
    ready = _operation("whether requests should be sent here", _json(ref("Ready")), others={"503": _json(ref("Ready"))})
    lives = "whether the process lives"
    tensors = {"application/json": {"schema": ref("InferRequest")}}
    return {
        "/invocations": _operation("score rows", _json(ref("Answer")), rows, [query, durable]),
        "/feedback": _operation("send labels", _json(ref("Stored")), {"application/json": {"schema": ref("Labels")}}),
        "/ping": _operation(lives, {}),  # an empty line that is called JSON, as MLflow's is
        "/ready": ready,
        "/health": _operation("whether all is well", _json(ref("Health"))),
        "/version": _operation("what serves", _json(ref("Version"))),
        "/metrics": _operation("counters, as Prometheus reads them", {"text/plain": {"schema": TEXT}}),
        "/openapi.json": _operation("this page", _json({"type": "object"})),
        "/v2": _operation("what this server is", _json(ref("Server"))),
        "/v2/health/live": _operation(lives, _json(ref("Live"))),
        "/v2/health/ready": ready,
        model: _operation("what the model takes and gives", _json(ref("Metadata"))),
        f"{model}/ready": ready,
        f"{model}/infer": _operation("score rows as tensors", _json(ref("InferAnswer")), tensors, [durable]),
    }


def _opened(operation: dict[str, Any], route: Route) -> dict[str, Any]:
    """An operation, and that it needs no key, or what the key must be good for."""
    keyed: dict[str, Any] = {"x-scope": route.scope} if route.scope != OPEN else {"security": []}
    return operation | keyed


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _operation(
    summary: str,
    content: Mapping[str, Any],
    body: Mapping[str, Any] | None = None,
    parameters: Iterable[Mapping[str, Any]] = (),
    others: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": summary, **({"content": dict(content)} if content else {})}}
    for status, given in (others or {}).items():
        answers[status] = {"description": "not now", "content": given}
    answers["default"] = {"description": "why not", "content": _json(ref("Error"))}
    made: dict[str, Any] = {"summary": summary, "responses": answers}
    if body is not None:
        made["requestBody"] = {"required": True, "content": dict(body)}
    if parameters:
        made["parameters"] = list(parameters)
    return made


def _bodies(model: Signature) -> dict[str, Schema]:
    """What is sent in MLflow's forms."""
    columns = {name: _nullable(_DTYPES[model.dtypes[name]], name in model.nullable) for name in model.features}
    gaps = model.nullable
    either = {
        name: _nullable(array(_nullable(NUMBER, not gaps.isdisjoint(each))), gaps.issuperset(each))
        for name, each in model.lists.items()
    }
    either |= {name: columns.pop(name) for each in model.lists.values() for name in each}
    row = record(columns, either)
    lists = array(array(ANY))
    params = record(
        {},
        {
            "event_time": array({"type": "string", "format": "date-time"}),
            "prediction_ids": array(TEXT),
            "durable": TRUTH,
        },
        more=True,
    )
    forms: dict[str, Schema] = {
        "dataframe_split": record({"columns": array(TEXT), "data": lists}, {"index": array(ANY)}),
        "dataframe_records": array(ref("Row")),
        "instances": {"anyOf": [array(ref("Row")), lists, ref("Columns")]},
        "inputs": {"anyOf": [ref("Columns"), lists, array(ref("Row"))]},
    }
    bodies = [record({form: schema}, {"params": ref("Params")}, more=True) for form, schema in forms.items()]
    by_column = record(*({n: {"anyOf": [array(e), e]} for n, e in each.items()} for each in (columns, either)))
    return {
        "Row": row,
        "Columns": by_column,
        "Params": params,
        "Rows": {"oneOf": bodies},
        "Labels": record({"prediction_ids": array(TEXT), "labels": array(ANY)}),
    }


def _nullable(schema: Schema, nullable: bool) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]} if nullable else schema


def _answers() -> dict[str, Schema]:
    counts = (
        "rows_waiting",
        "rows_written",
        "rows_dropped",
        "rows_refused",
        "rows_replayed",
        "rows_torn",
        "spill_bytes",
    )
    digests = {"base_digest": TEXT, "adapter_digest": TEXT, "heavy_modules": array(TEXT), "loaded": array(TEXT)}
    row = {"anyOf": [array(NUMBER), {"type": "object", "additionalProperties": NUMBER}]}
    return {
        "Answer": record(
            {"predictions": array(row), "prediction_ids": array(TEXT), "model_version": WHOLE},
            {"logged": TRUTH, "ignored": array(TEXT)},
        ),
        "Stored": record({"stored": WHOLE, "pending": WHOLE, "refused": WHOLE}),
        "Error": record({"error_code": TEXT, "message": TEXT, "error": TEXT}),
        "Live": record({"live": TRUTH}),
        "Ready": record({"ready": TRUTH}),
        "Version": record({"model": TEXT, "model_version": WHOLE, "base_version": WHOLE, **digests}),
        "Health": record(
            {
                "status": {"type": "string", "enum": ["ok", "degraded"]},
                "reasons": array(TEXT),
                "frozen": TEXT,
                "model": TEXT,
                "model_version": WHOLE,
                "settled_at": {"type": "string", "format": "date-time"},
                "pointer_age_s": NUMBER,
                "adapter": TEXT,
                "path": {"type": "string", "enum": ["compiled", "frame"]},
                "event_clock": TRUTH,
                "log": record(dict.fromkeys(counts, WHOLE)),
                "shadow": record({"versions": array(WHOLE), "rows": WHOLE, "dropped": WHOLE, "error": TEXT}),
            }
        ),
    }


def _tensors() -> dict[str, Schema]:
    """The Open Inference Protocol's."""
    shape, parameters = array(WHOLE), {"type": "object"}
    about = {"name": TEXT, "datatype": TEXT, "shape": shape}
    asked = array(record({"name": TEXT}, {"parameters": parameters}))
    return {
        "Server": record({"name": TEXT, "version": TEXT, "extensions": array(TEXT)}),
        "Metadata": record(
            {
                "name": TEXT,
                "versions": array(TEXT),
                "platform": TEXT,
                "inputs": array(record(about)),
                "outputs": array(record(about)),
            }
        ),
        "InferRequest": record(
            {"inputs": array(record({**about, "data": array(ANY)}, {"parameters": parameters}))},
            {"id": TEXT, "parameters": parameters, "outputs": asked},
            more=True,
        ),
        "InferAnswer": record(
            {
                "model_name": TEXT,
                "model_version": TEXT,
                "outputs": array(record({**about, "data": array(ANY)})),
            },
            {"id": TEXT, "parameters": parameters},
        ),
    }
