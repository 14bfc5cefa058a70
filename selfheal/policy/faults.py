"""What is wrong with a policy, in words: file, line, key, the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from selfheal.errors import nearest


def fault_lines(faults: Iterable[Any], where: str, node: yaml.Node | None, top: type[BaseModel]) -> list[str]:
    """One line per value: file, line, dotted key, what is wrong, the nearest valid key."""
    return [_line_of(list(same), where, node, top) for _, same in groupby(faults, _path)]


def _path(fault: Any) -> list[int | str]:
    """The keys that lead to a value, without the kinds that it might have been of."""
    return [part for part in fault["loc"] if not (isinstance(part, str) and part in {"int", "bool", "str"})]


def _line_of(faults: Sequence[Any], where: str, node: yaml.Node | None, top: type[BaseModel]) -> str:
    fault, path = faults[0], _path(faults[0])
    line = _line(node, path)
    place = f"{where}, line {line}" if line else where
    key = ".".join(str(part) for part in path) or "policy"
    if fault["type"] == "extra_forbidden":
        valid = _keys(top, path[:-1])
        return f"{place}: unknown key {key!r}{nearest(path[-1], valid)} (valid: {', '.join(valid)})"
    given = fault.get("input")
    shown = (
        "" if isinstance(given, dict | list | tuple | BaseModel) or fault["type"] == "missing" else f" (got {given!r})"
    )
    words = [_words(each) for each in faults]
    if len(words) > 1:  # of several kinds that would do it is none
        words = [f"it must be one of: {', '.join(each.partition(' is wanted')[0] for each in words)}"]
    return f"{place}: {key}: {words[0]}{shown}"


_WANTED = {
    "missing": "it is missing; write it",
    "tuple_type": "a list is wanted, such as [a, b]",
    "list_type": "a list is wanted, such as [a, b]",
    "dict_type": "keys and values are wanted, such as {a: b}",
    "model_type": "keys and values are wanted, such as {a: b}",
    "string_type": "text is wanted; put it in quotes",
    "int_type": "a whole number is wanted",
    "int_parsing": "a whole number is wanted",
    "int_from_float": "a whole number is wanted",
    "float_type": "a number is wanted",
    "float_parsing": "a number is wanted",
    "bool_type": "true or false is wanted",
    "bool_parsing": "true or false is wanted",
    "invalid_key": "keys are text; put it in quotes",
}
"""What is wanted, by pydantic's name of the fault: its own words are those of Python."""
_BOUNDS = {"greater_than": ("gt", "more than"), "greater_than_equal": ("ge", "at least"),
           "less_than": ("lt", "less than"), "less_than_equal": ("le", "at most")}  # fmt: skip


def _words(fault: Any) -> str:
    """What is wrong with a value."""
    kind, ctx = fault["type"], fault.get("ctx", {})
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"it must be {words} {ctx[name]:g}"
    if kind == "literal_error":
        return f"it must be {ctx['expected']}"
    if kind.startswith("too_"):
        return f"{fault['msg'][0].lower()}{fault['msg'][1:]}"
    return _WANTED.get(kind) or str(fault["msg"]).removeprefix("Value error, ")


def _keys(section: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """The keys of the section that ``path`` leads to."""
    for part in path:
        if isinstance(part, str):
            field = next(field for name, field in section.model_fields.items() if part in (name, field.alias))
            section = next(_sections(field.annotation))
    return [field.alias or name for name, field in section.model_fields.items()]


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Sections that a field may hold, one or many."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)


def _line(node: yaml.Node | None, path: Sequence[Any]) -> int | None:
    """The 1-based line of the deepest part of ``path`` that the file holds."""
    line = None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line or (1 if node is not None else None)
