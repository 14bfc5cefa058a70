"""Fitted preprocessing as functions of numpy arrays, without a data frame: what takes milliseconds there, at each row.

Numeric steps are repeated in numpy where that is a line, and else asked themselves, bare of names. Of text a table is
made by asking the transformer once what it makes of every value that the reference has; other values are asked one by
one. Nothing here is believed: who uses it does so only after it has agreed with preprocessing itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.parts.columns import as_fitted, dense
from selfheal.parts.inputs import picks

Floats = NDArray[np.float64]
Texts = Sequence[Sequence[str | None]]
Block = Callable[[Floats, Texts], Floats]
Step = Callable[[Floats], Floats]

CELLS = 1_000_000
"""Largest table of texts, 8 MB; beyond it rows are scored as data frames."""


class Fitted(Protocol):
    """What is asked of a model: its preprocessing, and the rows that it was fitted for."""

    preprocess: Any
    features: tuple[str, ...]
    dtypes: dict[str, str]
    reference: pd.DataFrame
    nulls: dict[str, Any]


def kinds_of(model: Fitted) -> tuple[list[str], list[str]]:
    """The features that hold numbers, and those that hold text, in the model's order."""
    texts = [name for name in model.features if model.dtypes[name] == "str"]
    return [name for name in model.features if name not in texts], texts


def blocks_of(model: Fitted) -> tuple[Block, ...] | None:
    """A model's preprocessing as blocks, side by side; None where it is not translated."""
    numeric, texts = kinds_of(model)
    if model.preprocess is None:
        return None if texts else (_as_they_are(list(range(len(numeric)))),)
    try:
        return _blocks(model.preprocess, model, numeric, texts)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # a transformer that cannot be asked so


def words_of(column: pd.Series[Any]) -> list[Any]:
    """A column of text as blocks take it: None for a gap."""
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy()] = None
    return list(values)


def _blocks(made: Any, model: Fitted, numeric: list[str], texts: list[str]) -> tuple[Block, ...] | None:
    if type(made).__name__ == "Pipeline" and type(made.steps[0][1]).__name__ in ("ColumnTransformer", "Pipeline"):
        first = _blocks(made.steps[0][1], model, numeric, texts)
        return None if first is None else (_then(first, _chain(_steps(made.steps[1:]))),)
    if type(made).__name__ != "ColumnTransformer":
        block = _block(made, list(model.features), model, numeric, texts)
        return None if block is None else (block,)
    blocks: list[Block] = []
    for _, step, columns in made.transformers_:
        if (isinstance(step, str) and step == "drop") or not len(columns):
            continue
        if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            return None
        step = step.estimator if type(step).__name__ == "FrozenEstimator" else step
        if picks(step):
            found = _blocks(step, model, numeric, texts)
        else:
            block = _block(step, columns, model, numeric, texts)
            found = None if block is None else (block,)
        if found is None:
            return None
        blocks += found
    return tuple(blocks) or None


def _then(first: tuple[Block, ...], rest: Step | None) -> Block:
    """Blocks side by side, and what follows them."""

    def run(numbers: Floats, texts: Texts) -> Floats:
        made = np.concatenate([block(numbers, texts) for block in first], axis=1)
        return made if rest is None else rest(made)

    return run


def _block(step: Any, columns: list[str], model: Fitted, numeric: list[str], texts: list[str]) -> Block | None:
    if all(name in texts for name in columns):
        return None if isinstance(step, str) else _table(step, columns, model, [texts.index(n) for n in columns])
    if not all(name in numeric for name in columns):
        return None
    chosen = _as_they_are([numeric.index(name) for name in columns])
    done = _step(step)
    if done is None:
        return chosen
    return lambda numbers, words: done(chosen(numbers, words))


def _as_they_are(places: list[int]) -> Block:
    whole = places == list(range(len(places)))
    return lambda numbers, texts: numbers if whole and numbers.shape[1] == len(places) else numbers[:, places]


# ---------------------------------------------------------------------- numbers


def _step(step: Any) -> Step | None:
    """A fitted numeric step as a function of float64 [n, d]; None for one that changes nothing."""
    if isinstance(step, str) or step is None:
        return None
    kind = type(step).__name__
    if kind == "Pipeline":
        return _chain(_steps(step.steps))
    if kind == "FeatureUnion" and not step.transformer_weights:
        return _beside([_step(one) for _, one in step.transformer_list if not (isinstance(one, str) and one == "drop")])
    if kind == "FunctionTransformer" and step.func is None:
        return None
    return _NATIVE.get(kind, _bare)(step)


def _steps(named: list[tuple[str, Any]]) -> list[Step]:
    return [done for _, one in named if (done := _step(one)) is not None]


def _chain(steps: list[Step]) -> Step | None:
    def run(x: Floats) -> Floats:
        for one in steps:
            x = one(x)
        return x

    return run if steps else None


def _beside(steps: list[Step | None]) -> Step:
    return lambda x: np.concatenate([x if one is None else one(x) for one in steps], axis=1)


def _standard(step: Any) -> Step:
    mean = step.mean_ if step.with_mean else None
    return _scaled(mean, step.scale_ if step.with_std else None)


def _robust(step: Any) -> Step:
    return _scaled(step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None)


def _scaled(centre: Any, scale: Any) -> Step:
    middle = 0.0 if centre is None else np.asarray(centre, dtype=np.float64)
    unit = 1.0 if scale is None else np.asarray(scale, dtype=np.float64)
    return lambda x: (x - middle) / unit


def _min_max(step: Any) -> Step:
    scale, least = np.asarray(step.scale_), np.asarray(step.min_)
    low, high = step.feature_range if step.clip else (-np.inf, np.inf)
    return lambda x: np.clip(x * scale + least, low, high)


def _imputed(step: Any) -> Step:
    filled = step.statistics_
    if not _is_nan(step.missing_values) or filled.dtype.kind != "f" or np.isnan(filled).any():
        return _bare(step)
    flags = step.indicator_.features_ if step.add_indicator else None

    def run(x: Floats) -> Floats:
        gaps = np.isnan(x)
        made = np.where(gaps, filled, x)
        return made if flags is None else np.concatenate([made, gaps[:, flags]], axis=1)

    return run


def _function(step: Any) -> Step:
    function, words = step.func, step.kw_args or {}
    return lambda x: np.asarray(function(x, **words), dtype=np.float64)


def _bare(step: Any) -> Step:
    """The transformer itself, asked without names and answering with an array."""
    asked = copy.copy(step)
    vars(asked).pop("feature_names_in_", None)
    vars(asked)["_sklearn_output_config"] = {}

    def run(x: Floats) -> Floats:
        return dense(asked.transform(x))

    return run


_NATIVE: dict[str, Callable[[Any], Step]] = {
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "SimpleImputer": _imputed,
    "FunctionTransformer": _function,
}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


# ---------------------------------------------------------------------- text


def _table(step: Any, columns: list[str], model: Fitted, places: list[int]) -> Block | None:
    """What a transformer makes of text, column by column; None where a column's value changes another's output."""
    levels = [_levels(model.reference[name]) for name in columns]
    asked = _Asked(step, columns, model)
    first = {name: [held[0]] for name, held in zip(columns, levels, strict=True)}
    base = asked(first)[0]
    if sum(map(len, levels)) * len(base) > CELLS:
        return None
    parts: list[tuple[dict[str | None, int], NDArray[np.intp], Floats]] = []
    owned = np.zeros(len(base), dtype=int)
    for name, held in zip(columns, levels, strict=True):
        made = asked({**{c: v * len(held) for c, v in first.items()}, name: held})
        moved = np.flatnonzero(~((made == base) | (np.isnan(made) & np.isnan(base))).all(axis=0))
        owned[moved] += 1
        parts.append(({value: i for i, value in enumerate(held)}, moved, made[:, moved]))
    if (owned > 1).any():
        return None

    def encode(numbers: Floats, texts: Texts) -> Floats:
        out = np.repeat(base[None, :], len(numbers), axis=0)
        strange = np.zeros(len(numbers), dtype=bool)
        for place, (known, moved, made) in zip(places, parts, strict=True):
            rows = np.array([known.get(text, -1) for text in texts[place]], dtype=np.intp)
            out[:, moved] = made[rows]
            strange |= rows < 0
        if strange.any():
            held = np.flatnonzero(strange).tolist()
            out[held] = asked({c: [texts[p][r] for r in held] for c, p in zip(columns, places, strict=True)})
        return out

    return encode


def _levels(column: pd.Series[Any]) -> list[str | None]:
    """The values that the reference has, None for a gap."""
    found: list[str | None] = sorted(set(column[column.notna()].tolist()))
    return [*found, None] if column.isna().any() or not found else found


class _Asked:
    """A transformer of text, asked with data frames."""

    def __init__(self, step: Any, columns: list[str], model: Fitted) -> None:
        self.step, self.columns = step, columns
        self.nulls = {name: null for name, null in model.nulls.items() if name in columns}

    def __call__(self, values: dict[str, list[str | None]]) -> Floats:
        frame = pd.DataFrame({name: pd.Series(values[name], dtype=object) for name in self.columns})
        return dense(self.step.transform(as_fitted(frame, self.nulls)))
