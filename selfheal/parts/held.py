"""What a fitted transformer holds of pandas (its medians, its mappings), as arrays and lists for its file, and back.

A file of skops has no place for pandas' objects. Each is replaced by a :class:`PandasObject`, whose attributes are set
from the file without a call, and is made again by pandas' own constructors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from selfheal.errors import ArtifactError

HELD = f"{__name__}.PandasObject"
_KINDS = (pd.Series, pd.DataFrame, pd.Index)


class PandasObject:
    """A series, frame or index in parts: ``kind``, ``values`` (of a frame one a column), ``index``, ``names``."""

    def __init__(self, kind: str, values: list[Any], index: Any, names: list[Any]) -> None:
        self.kind, self.values, self.index, self.names = kind, values, index, names


def packed(transformer: Any) -> Any:
    """The transformer with its pandas objects replaced, in a copy; itself where it holds none."""
    if not any(isinstance(one, _KINDS) for one in within(transformer)):
        return transformer
    return _turned(copy.deepcopy(transformer), _pack, set())


def unpacked(transformer: Any) -> Any:
    """The same transformer with its pandas objects made again.

    Raises
    ------
    ArtifactError
        One of them is none.
    """
    return _turned(transformer, _unpack, set())


def parts_of(value: Any) -> list[Any] | None:
    """What stands for a pandas object in a digest; None for anything else."""
    packed = _pack(value)
    return [packed.kind, packed.values, packed.index, packed.names] if packed is not value else None


def within(value: Any) -> Iterator[Any]:
    """The objects that a value is made of, itself first; what is done to one is seen before what it holds is given."""
    seen: set[int] = set()
    pending = [value]
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending.extend(one if isinstance(one, set | frozenset) else _inner(one).values())


def _inner(one: Any) -> dict[Any, Any]:
    """What an object holds by key, where that can be replaced."""
    if isinstance(one, dict):
        return one
    if isinstance(one, list | tuple):
        return dict(enumerate(one))
    if isinstance(one, np.ndarray):
        return dict(enumerate(one.flat)) if one.dtype == object else {}
    plain = isinstance(one, (*_KINDS, type)) or callable(one) or not hasattr(one, "__dict__")
    return {} if plain else vars(one)


def _turned(value: Any, turn: Callable[[Any], Any], seen: set[int]) -> Any:
    """The value with what it holds turned, in place but for tuples."""
    made = turn(value)
    if made is not value:
        return made
    if id(value) in seen:
        return value
    seen.add(id(value))
    inner = {key: _turned(one, turn, seen) for key, one in _inner(value).items()}
    if isinstance(value, tuple):
        same = all(one is inner[key] for key, one in enumerate(value))
        return value if same else tuple(inner.values())
    for key, one in inner.items():
        if isinstance(value, dict | list):
            value[key] = one
        elif isinstance(value, np.ndarray):
            value.flat[key] = one
        else:
            vars(value)[key] = one
    return value


def _pack(value: Any) -> Any:
    if isinstance(value, pd.Series):
        return PandasObject("series", [_plain(value)], _pack(value.index), [value.name])
    if isinstance(value, pd.DataFrame):
        columns = [_plain(value.iloc[:, k]) for k in range(value.shape[1])]
        return PandasObject("frame", columns, _pack(value.index), [*value.columns])
    if isinstance(value, pd.Index):
        return PandasObject("index", [_plain(value)], None, [value.name])
    return value


def _plain(values: Any) -> Any:
    """An array of numbers, or a list of what else there is."""
    made = values.to_numpy()
    return made if made.dtype.kind in "fiub" else made.tolist()


def _unpack(value: Any) -> Any:
    if not isinstance(value, PandasObject):
        return value
    try:
        if value.kind == "index":
            return pd.Index(_array(value.values[0]), name=value.names[0])
        index = _unpack(value.index)
        if value.kind == "series":
            return pd.Series(_array(value.values[0]), index=index, name=value.names[0])
        if value.kind == "frame":
            made = pd.DataFrame(dict(enumerate(map(_array, value.values))), index=index)
            return made.set_axis(value.names, axis=1)
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise ArtifactError(f"preprocess.skops: what pandas held is damaged ({error}); it is not used") from error
    raise ArtifactError(f"preprocess.skops: pandas has no {value.kind!r}; it is not used")


def _array(values: Any) -> Any:
    """Numbers as they are; of a list objects, so that pandas guesses nothing."""
    if not isinstance(values, list):
        return values
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made
