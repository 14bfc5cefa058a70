"""The content of a fitted transformer, as bytes for a digest: the same before and after it was stored and loaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfheal.parts.held import PandasObject, parts_of

_SPLINE = ("t", "c", "k", "extrapolate", "axis")


def feed(digest: Any, value: Any) -> None:
    """Hash a value by content. What it adds for a value is fixed: bases that were adopted are named by it."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype}:{value.shape}".encode() + value.tobytes())
    elif isinstance(value, list | tuple | np.ndarray):
        digest.update(b"[")
        for item in value:
            feed(digest, item)
        digest.update(b"]")
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            feed(digest, value[key])
    elif hasattr(value, "get_params") and hasattr(value, "__dict__"):
        digest.update(type(value).__qualname__.encode())
        feed(digest, vars(value))
    elif (inner := _inner(value)) is not None:
        feed(digest, inner)
    elif callable(value):
        digest.update(getattr(value, "__qualname__", type(value).__qualname__).encode())
    else:
        digest.update(str(value).encode())


def _inner(value: Any) -> Any:
    """What stands for an object whose words name its address, or its items in another order in each process."""
    if isinstance(value, np.random.RandomState):
        return value.get_state(legacy=False)
    if isinstance(value, set | frozenset) and len(value) > 1:
        return sorted(map(str, value))
    if type(value).__name__ == "BSpline":
        return [getattr(value, name) for name in _SPLINE]
    if type(value).__module__.startswith("pandas.") and (parts := parts_of(value)) is not None:
        return parts
    return vars(value) if isinstance(value, PandasObject) or type(value).__name__ == "make_column_selector" else None
