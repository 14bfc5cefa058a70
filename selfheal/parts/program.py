"""Backbone and head as ``torch.export`` programs, opened without running anything that the file says.

``torch.export.load`` runs code when the file asks for it: it unpickles ``sample_inputs/model.pt``, payloads marked
``use_pickle`` and constant objects without restriction, and hands every symbolic size to ``sympy.sympify``, an
``eval`` (the tests show all four). It also resolves a node's target to any dotted name below ``torch``. So an
archive is read here by whitelist, its program is checked as data, and torch is handed a fresh archive made of the
checked bytes only: no second reading of the zip can see anything else.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from selfheal.errors import ArtifactError, InputError
from selfheal.parts.chain import read_chain
from selfheal.parts.several import Several

AGREEMENT = 1e-5
"""Largest difference between a module and its stored form, absolute or relative to the module's value: about
a hundred float32 roundings. Above it the export changed the model."""

_MODEL = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_WEIGHTS = "data/weights/model_weights_config.json"
_CONFIGS = {
    _WEIGHTS: r"weight_\d+",
    "data/constants/model_constants_config.json": r"tensor_\d+",
}
# Written by torch's own zip writer into every archive; not carried over, the fresh archive gets its own.
_WRITER = {"archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id"}
_ENTRY = re.compile(r"data/weights/weight_\d+|data/constants/tensor_\d+")

# from_file maps a path of the machine into memory; every other aten and prims operator computes on tensors.
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file\b)[a-z0-9_]+\.[A-Za-z0-9_]+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
    r"|math\.(ceil|floor|trunc)"
    r"|torch\.sym_(max|min|not|int|float)"
)
_SYMBOL = re.compile(r"Symbol\('[su]\d+'(, (positive|integer|nonnegative)=(True|False))*\)")
_EXPRESSION = re.compile(
    r"([su]?\d+|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|Eq|Ne|Lt|Le|Gt|Ge|Add|Mul|Pow|Integer|[-+*/(),<>= ])*"
)
# Anything that carries an object, a subgraph or an operator by name instead of a tensor or a number.
_FORBIDDEN_KEYS = {"as_custom_obj", "custom_obj", "as_graph", "as_operator", "token", "class_fqn"}
_MUST_BE_EMPTY = {"guards_code", "custom_obj_values", "treespec_namedtuple_fields", "metadata"}
_NOTES = {"guards_code", "metadata"}
# What an export notes of where a node came from.
_TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom")
_SPEC_TYPES = {None, "builtins.tuple", "builtins.list", "builtins.dict"}
_SPEC_CONTEXTS = {None, "null", "[]"}

# torch's deserializer keeps its state in a module global and fails when two threads open programs at once.
_TORCH_LOADER = threading.Lock()


def export_program(module: nn.Module, rows: Tensor) -> bytes:
    """Write `module` as a ``.pt2`` archive without sample inputs, file paths or pickled payloads.

    Parameters
    ----------
    module
        In evaluation mode; takes float32 ``[n, d]`` for any n ≥ 1. It is copied to the CPU, not changed.
    rows
        Real inputs, ``[n, d]`` with n ≥ 2: the stored program must agree with `module` on them.

    Raises
    ------
    InputError
        The module cannot be exported, needs more than tensor operators, or disagrees after export.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = copy.deepcopy(module).cpu()
            # An exported module has no modes and says so by raising; it was stored in evaluation mode.
            with contextlib.suppress(NotImplementedError):
                module.eval()
            # Three rows: sizes 0 and 1 would be baked into the program as constants.
            example = rows[:1].repeat(3, 1)
            program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
            program.example_inputs = None
            for graph in _graphs(program.graph_module):
                for node in graph.nodes:
                    for key in _TRACES:
                        node.meta.pop(key, None)
            program._guards_code = []
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
    except Exception as error:
        raise InputError(f"torch.export cannot store {_name(module)}: {_first_line(error)}") from error
    data = buffer.getvalue()
    try:
        stored = open_program(data, what=_name(module))
    except ArtifactError as error:
        raise InputError(f"torch.export stored {_name(module)} in a form that is not opened again: {error}") from error
    check_agreement(module, stored, rows, what=_name(module))
    return data


def without_samples(data: bytes, *, what: str = "program") -> bytes:
    """An archive that somebody else wrote, without its example inputs (a pickle), notes and guards (source text).

    Nothing of it is interpreted but JSON; `open_program` then asks of the rest what it asks of every archive.

    Raises
    ------
    ArtifactError
        It is no archive, or holds an unknown entry.
    """
    entries = _entries(data, what, samples=True)
    program = _json(entries[_MODEL], f"{what}: {_MODEL}")
    _emptied(program)
    return _rewrite(entries | {_SAMPLES: b"", _MODEL: json.dumps(program).encode()}).getvalue()


def _emptied(value: Any) -> None:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _emptied(item)
    if isinstance(value, dict):
        for name in _NOTES & set(value):
            value[name] = type(value[name])()


def open_program(data: bytes, *, what: str = "program") -> nn.Module:
    """The module stored in `data`, with the parameter names of the original; gradients reach its input.

    Parameters
    ----------
    data
        A ``.pt2`` archive as written by `export_program`.
    what
        How messages name it.

    Raises
    ------
    ArtifactError
        The archive holds an unknown entry, a pickle, or a program that does more than compute on tensors.
        Nothing of it was run.
    """
    entries = _entries(data, what)
    _check_program(entries[_MODEL], what)
    for config, payload in _CONFIGS.items():
        _check_payloads(entries, config, payload, what)
    program, table = (_json(entries[name], f"{what}: {name}") for name in (_MODEL, _WEIGHTS))
    if (chain := read_chain(program, table["config"], entries)) is not None:
        return chain
    fresh = _rewrite(entries)
    try:
        with _TORCH_LOADER, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = torch.export.load(fresh).module(check_guards=False)
    except Exception as error:
        raise ArtifactError(
            f"{what}: torch {torch.__version__} cannot read this program ({_first_line(error)}); "
            "adopt the model again with this version of torch, or install the one that stored it"
        ) from error
    return module


def check_agreement(module: nn.Module, stored: nn.Module, rows: Tensor, *, what: str) -> None:
    """Compare `module` with its stored form on batches of 1, 2 and all of `rows`.

    Raises
    ------
    InputError
        A value differs by more than `AGREEMENT`, or a shape differs: the batch size or a random draw is
        part of the program.
    """
    for size in (1, 2, len(rows)):
        batch = rows[:size]
        with torch.no_grad():
            expected = module(batch)
            try:
                answer = stored(batch)
            except Exception as error:
                raise InputError(
                    f"{what}: its stored form fails on {size} rows: {_first_line(error)}. A number of rows may have "
                    "become part of it: write x.shape[0] in place of len(x) in forward()"
                ) from error
        if expected.shape != answer.shape:
            raise InputError(
                f"{what}: its stored form answers {tuple(answer.shape)} for {size} rows, not {tuple(expected.shape)}"
            )
        gap = float(((expected - answer).abs() / expected.abs().clamp(min=1.0)).max())
        if not gap <= AGREEMENT:
            raise InputError(
                f"{what}: its stored form differs by {gap:.2g} on {size} rows (limit {AGREEMENT:g}); "
                "is there a random draw or a branch on the data in forward()?"
            )


def _entries(data: bytes, what: str, *, samples: bool = False) -> dict[str, bytes]:
    """Whitelisted entries without the archive's own prefix, refused before any is interpreted."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename.partition("/")[2] or info.filename for info in infos]
            known = {_MODEL, _SAMPLES, *_CONFIGS} | _WRITER
            strange = [name for name in names if name not in known and not _ENTRY.fullmatch(name)]
            if strange:
                raise ArtifactError(f"{what}: unexpected entry {strange[0]!r} in the archive; it was not opened")
            if len(set(names)) != len(names):
                raise ArtifactError(f"{what}: an entry occurs twice in the archive; it was not opened")
            if any(i.compress_type != zipfile.ZIP_STORED for i in infos) or sum(i.file_size for i in infos) > len(data):
                raise ArtifactError(f"{what}: a compressed archive, which torch never writes; it was not opened")
            entries = {n: archive.read(i) for n, i in zip(names, infos, strict=True) if n not in _WRITER}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ArtifactError(f"{what}: not a readable .pt2 archive ({error}); restore it from a backup") from error
    missing = sorted({_MODEL, _SAMPLES, *_CONFIGS} - set(entries))
    if missing:
        raise ArtifactError(f"{what}: {missing[0]} is missing from the archive; it was not opened")
    if entries[_SAMPLES] and not samples:
        raise ArtifactError(
            f"{what}: {_SAMPLES} holds {len(entries[_SAMPLES])} bytes, which torch would unpickle; it was not opened. "
            "Archives written by selfheal leave it empty: adopt the model again from its source"
        )
    return entries


def _check_payloads(entries: dict[str, bytes], config: str, payload: str, what: str) -> None:
    """Every tensor of a payload table is raw bytes in an entry of its own folder."""
    table = _json(entries[config], f"{what}: {config}").get("config")
    if not isinstance(table, dict):
        raise ArtifactError(f"{what}: {config} is malformed; it was not opened")
    folder = config.rpartition("/")[0]
    for name, meta in table.items():
        if not isinstance(meta, dict) or meta.get("use_pickle") is not False or meta.get("tensor_meta") is None:
            raise ArtifactError(f"{what}: {name!r} is stored as a pickle, which could run code; it was not opened")
        path = str(meta.get("path_name"))
        if not re.fullmatch(payload, path) or f"{folder}/{path}" not in entries:
            raise ArtifactError(f"{what}: {name!r} names {path!r}, which is no tensor of this archive")


def _check_program(text: bytes, what: str) -> None:
    """Refuse whatever torch would resolve to code: names, symbolic expressions, guards, objects."""
    for problem in _problems(_json(text, f"{what}: {_MODEL}")):
        raise ArtifactError(f"{what}: the program holds {problem}; only tensor operators are opened, nothing was run")


def _problems(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name in _FORBIDDEN_KEYS:
                yield f"{name} (an object, a subgraph or an operator by name)"
            if name in _MUST_BE_EMPTY and item:
                yield f"{name}: {_short(item)}"
            yield from _problems(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _problems(item, key)
    elif key in _STRINGS and not _STRINGS[key](value):
        yield f"{key} {_short(value)}"


def _is_target(value: object) -> bool:
    return isinstance(value, str) and _TARGET.fullmatch(value) is not None


def _is_expression(value: object) -> bool:
    return isinstance(value, str) and _EXPRESSION.fullmatch(_SYMBOL.sub("s0", value)) is not None


def _is_spec(value: object) -> bool:
    """A pytree specification: nested tuples, lists and dicts, no registered class and no enum."""
    if value in (None, ""):
        return True
    try:
        _, tree = json.loads(str(value))
        pending = [tree]
        while pending:
            node = pending.pop()
            if node["type"] not in _SPEC_TYPES or node["context"] not in _SPEC_CONTEXTS:
                return False
            pending.extend(node["children_spec"])
    except (ValueError, TypeError, KeyError):
        return False
    return True


_STRINGS: dict[str, Callable[[object], bool]] = {
    "target": _is_target,
    "expr_str": _is_expression,
    "in_spec": _is_spec,
    "out_spec": _is_spec,
}


def _rewrite(entries: dict[str, bytes]) -> io.BytesIO:
    from torch.export.pt2_archive._package import PT2ArchiveWriter

    fresh = io.BytesIO()
    with PT2ArchiveWriter(fresh) as writer:
        for name, content in entries.items():
            writer.write_bytes(name, content)
    fresh.seek(0)
    return fresh


def _graphs(module: torch.fx.GraphModule) -> Iterator[torch.fx.Graph]:
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            yield part.graph


def _json(text: bytes, what: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(text)
        if isinstance(content, dict):
            return content
    raise ArtifactError(f"{what} is not a JSON object; it was not opened")


def _name(module: nn.Module) -> str:
    return type(module.network if isinstance(module, Several) else module).__name__


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _short(value: object) -> str:
    return repr(value)[:80]
