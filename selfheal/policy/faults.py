"""What is wrong with a policy, in words: file, line, key, the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from selfheal.errors import nearest


def fault_line(fault: Any, where: str, node: yaml.Node | None, top: type[BaseModel]) -> str:
    """One line per fault: file, line, dotted key, what is wrong, the nearest valid key."""
    path = [part for part in fault["loc"] if not (isinstance(part, str) and part in {"int", "bool", "str"})]
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
    return f"{place}: {key}: {fault['msg'].removeprefix('Value error, ')}{shown}"


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
