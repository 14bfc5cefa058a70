"""The Open Inference Protocol, version 2, over HTTP: rows as tensors, one a column or one for all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selfheal.errors import InputError, nearest, shown
from selfheal.serving.checked import Columns
from selfheal.serving.params import PARAMS, now_us
from selfheal.serving.requests import Reading, Request, check_columns, check_names, read_message
from selfheal.serving.scored import Scored
from selfheal.serving.scorer import Scorer

DATATYPES = {"float": "FP64", "int": "INT64", "bool": "BOOL", "str": "BYTES"}
"""What the columns are said to be; any other number is taken for a number."""
BINARY = "binary tensors are not read"
OUTPUTS = ("probabilities", "prediction_ids")
SERVER = {"name": "selfheal", "extensions": []}


def metadata(name: str, scorer: Scorer) -> dict[str, Any]:
    """What a model takes and gives."""
    model = scorer.signature
    return {
        "name": name,
        "versions": [str(scorer.version)],
        "platform": "selfheal",
        "inputs": [
            {"name": name, "datatype": DATATYPES["float"], "shape": [-1, len(model.lists[name])]}
            if name in model.lists
            else {"name": name, "datatype": DATATYPES[model.dtypes[name]], "shape": [-1]}
            for name in model.raw
        ],
        "outputs": [
            {"name": OUTPUTS[0], "datatype": "FP64", "shape": [-1, len(model.classes)]},
            {"name": OUTPUTS[1], "datatype": "BYTES", "shape": [-1]},
        ],
    }


class Tensors:
    """One request, and what it asks to be answered with.

    Attributes
    ----------
    wanted
        Names of the outputs.
    id
        The client's own name for the request; None where it gave none.
    """

    wanted: Sequence[str] = OUTPUTS
    id: str | None = None

    def read(self, body: bytes | bytearray, scorer: Scorer, reading: Reading) -> Request:
        """Read tensors for the version that will answer them, see :func:`parse_tensors`."""
        message = read_message(body)
        self.wanted = _asked(message)
        self.id = message["id"] if isinstance(message.get("id"), str) else None
        return parse_tensors(message, scorer, reading)

    def answer(self, name: str, scored: Scored) -> dict[str, Any]:
        """The answer of a model."""
        n, k = scored.proba.shape
        outputs = [
            {"name": OUTPUTS[0], "shape": [n, k], "datatype": "FP64", "data": scored.proba.ravel().tolist()},
            {"name": OUTPUTS[1], "shape": [n], "datatype": "BYTES", "data": scored.request.ids},
        ]
        message: dict[str, Any] = {"model_name": name, "model_version": str(scored.scorer.version)}
        if self.id is not None:
            message["id"] = self.id
        if not scored.logged:
            message["parameters"] = {"logged": False}
        return message | {"outputs": [each for each in outputs if each["name"] in self.wanted]}


def parse_tensors(message: Mapping[str, Any], scorer: Scorer, reading: Reading) -> Request:
    """Read tensors for the version that will answer them.

    A tensor a column, of shape [n] or [n, 1], under the column's name, of shape [n, width] for one of lists; or a
    single one of shape [n, d] with the columns in the model's order. Beside them ``event_time`` and
    ``prediction_ids`` may be tensors of BYTES.

    Raises
    ------
    InputError
        Naming what is wrong and the remedy.
    """
    tensors = message.get("inputs")
    if not isinstance(tensors, list) or not tensors or not all(isinstance(each, dict) for each in tensors):
        raise InputError('the body must be {"inputs": [{"name": ..., "shape": [...], "datatype": ..., "data": [...]}]}')
    params = {name: value for name, value in _parameters(message).items() if name in PARAMS}
    inputs = dict(_tensor(each) for each in tensors)
    if len(inputs) != len(tensors):
        raise InputError("two inputs have the same name; send each column once")
    for name in ("event_time", "prediction_ids"):
        if name in inputs and name not in scorer.signature.dtypes:
            params[name] = [value for (value,) in _rows(name, *inputs.pop(name), 1)]
    columns, n = _columns(inputs, scorer, reading)
    ignored = [name for name in columns if not scorer.signature.knows(name)]
    return check_columns(columns, n, scorer, params, reading, ignored)


def tensors_extent(body: bytes | bytearray, latest_us: float) -> tuple[int, int]:
    """How many rows a refused body holds (at least 1), and that they happened now."""
    try:
        n = read_message(body)["inputs"][0]["shape"][0]
    except (InputError, LookupError, TypeError):
        return 1, now_us()
    return (n if type(n) is int and 0 < n < len(body) else 1), now_us()


def _parameters(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = holder.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InputError("parameters must be an object")
    if "binary_data_size" in parameters:  # who asks for binary outputs is answered in JSON, which such clients read too
        raise InputError(f"{BINARY}; send JSON (binary_data=False)")
    return parameters


def _asked(message: Mapping[str, Any]) -> Sequence[str]:
    """Names of the outputs to answer with: all, where none are named."""
    asked = message.get("outputs")
    if asked is None:
        return OUTPUTS
    if not isinstance(asked, list) or not all(isinstance(each, dict) for each in asked):
        raise InputError('outputs must be a list of {"name": ...}')
    for each in asked:
        if each.get("name") not in OUTPUTS:
            known = ", ".join(OUTPUTS)
            raise InputError(f"no output {shown(each.get('name'))}{nearest(each.get('name'), OUTPUTS)}; known: {known}")
        _parameters(each)
    return [each["name"] for each in asked] or OUTPUTS


Content = tuple[list[int], list[Any]]


def _tensor(tensor: Mapping[str, Any]) -> tuple[str, Content]:
    """A tensor's name, shape and values in row-major order."""
    name, shape, data = tensor.get("name"), tensor.get("shape"), tensor.get("data")
    _parameters(tensor)
    if not isinstance(name, str):
        raise InputError(f"an input's name is {shown(name)}; send the column's")
    if not isinstance(shape, list) or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise InputError(f"input {shown(name)}: shape is {shown(shape)}; send a list of whole numbers such as [2]")
    if not isinstance(tensor.get("datatype"), str):
        raise InputError(f"input {shown(name)} has no datatype; send one of {', '.join(DATATYPES.values())}")
    if not isinstance(data, list):
        raise InputError(f"input {shown(name)} has no data; send a list of {math.prod(shape)} values")
    while data and isinstance(data[0], list):  # nested: the protocol takes both
        if not all(isinstance(part, list) for part in data):
            raise InputError(f"input {shown(name)}: data is a list of lists and values; send the one or the other")
        data = [value for part in data for value in part]
    if len(data) != math.prod(shape):
        raise InputError(f"input {shown(name)} holds {len(data)} values, and shape {shape} has {math.prod(shape)}")
    return name, (shape, data)


def _rows(name: str, shape: list[int], data: list[Any], width: int) -> list[list[Any]]:
    if math.prod(shape[1:]) != width:
        raise InputError(f"input {shown(name)}: shape {shape} is not [{shape[0]}, {width}]", column=name)
    return [data[start : start + width] for start in range(0, len(data), width)]


def _columns(inputs: Mapping[str, Content], scorer: Scorer, reading: Reading) -> tuple[Columns, int]:
    model = scorer.signature
    if len(inputs) == 1 and not model.knows(whole := next(iter(inputs))):
        shape, data = inputs[whole]
        rows = _rows(whole, shape, data, len(model.features))
        if not rows:
            raise InputError("inputs hold no rows; send at least one")
        return dict(zip(model.features, zip(*rows, strict=True), strict=True)), len(rows)
    check_names(inputs, model, reading)
    n = next(iter(inputs.values()))[0][0] if inputs else 0
    if not n:
        raise InputError("inputs hold no rows; send at least one")
    for name, (shape, data) in inputs.items():
        if (shape[0] if name in model.lists else len(data)) != n and model.knows(name):
            raise InputError(
                f"input {name!r} holds {len(data)} values of shape {shape}, others {n}; send as many for each"
            )
    return {
        name: _rows(name, shape, data, len(model.lists[name])) if name in model.lists else data
        for name, (shape, data) in inputs.items()
    }, n
