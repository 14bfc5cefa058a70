"""Fitted preprocessing as functions of numpy arrays, without a data frame: what takes milliseconds there, at each row.

Numeric steps are repeated in numpy where that is a line, and else asked themselves, bare of names. Of text a table is
made by asking the transformer once what it makes of every value that the reference has; other values are asked one by
one. Nothing here is believed: who uses it does so only after it has agreed with preprocessing itself.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.parts.columns import as_fitted, dense
from selfheal.parts.inputs import picks
from selfheal.parts.steps import (
    FUNCTIONS,
    Beside,
    Block,
    Chain,
    Coded,
    Codes,
    Filled,
    Floats,
    Function,
    Joined,
    Levels,
    Picked,
    Ranged,
    Scaled,
    Step,
    Table,
)

ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")
"""scikit-learn's, to which all values that they were not fitted to are one, or refused."""
UNHEARD, _UNHEARD = 1.0, "\x01 never seen"
"""By how much a code lies above all that are known, and a text, that no encoder was fitted to."""

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
        return None if texts else (Picked(tuple(range(len(numeric)))),)
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
        return None if first is None else (Joined(first, _chain(made.steps[1:])),)
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
            parts = _blocks(step, model, numeric, texts)
        else:
            block = _block(step, columns, model, numeric, texts)
            parts = None if block is None else (block,)
        if parts is None:
            return None
        blocks += parts
    return tuple(blocks) or None


def _block(step: Any, columns: list[str], model: Fitted, numeric: list[str], texts: list[str]) -> Block | None:
    if all(name in texts for name in columns):
        return None if isinstance(step, str) else _table(step, columns, model, [texts.index(n) for n in columns])
    if not all(name in numeric for name in columns):
        return None
    return Picked(tuple(numeric.index(name) for name in columns), _step(step))


# ---------------------------------------------------------------------- numbers


def _step(step: Any) -> Step | None:
    """A fitted numeric step as a function of float64 [n, d]; None for one that changes nothing."""
    if isinstance(step, str) or step is None:
        return None
    kind = type(step).__name__
    if kind == "Pipeline":
        return _chain(step.steps)
    if kind == "FeatureUnion" and not step.transformer_weights:
        taken = [one for _, one in step.transformer_list if not (isinstance(one, str) and one == "drop")]
        return Beside(tuple(_step(one) for one in taken))
    if kind == "FunctionTransformer" and step.func is None:
        return None
    return _NATIVE.get(kind, _bare)(step)


def _chain(named: list[tuple[str, Any]]) -> Step | None:
    steps = tuple(done for _, one in named if (done := _step(one)) is not None)
    return Chain(steps) if steps else None


def _standard(step: Any) -> Step:
    return _scaled(step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None)


def _robust(step: Any) -> Step:
    return _scaled(step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None)


def _scaled(centre: Any, scale: Any) -> Step:
    return Scaled(*(None if values is None else np.asarray(values, dtype=np.float64) for values in (centre, scale)))


def _min_max(step: Any) -> Step:
    low, high = step.feature_range if step.clip else (-np.inf, np.inf)
    return Ranged(np.asarray(step.scale_), np.asarray(step.min_), float(low), float(high))


def _imputed(step: Any) -> Step:
    filled = step.statistics_
    if not _is_nan(step.missing_values) or filled.dtype.kind != "f" or np.isnan(filled).any():
        return _bare(step)
    flags = np.asarray(step.indicator_.features_, dtype=np.int64) if step.add_indicator else None
    return Filled(np.asarray(filled, dtype=np.float64), flags)


def _function(step: Any) -> Step:
    function, words = step.func, step.kw_args or {}
    name = getattr(function, "__name__", "")
    if not words and FUNCTIONS.get(name) is function:
        return Function(name)
    return lambda x: np.asarray(function(x, **words), dtype=np.float64)


def _bare(step: Any) -> Step:
    """The transformer itself, asked without names and answering with an array."""
    asked = copy.copy(step)
    vars(asked).pop("feature_names_in_", None)
    vars(asked)["_sklearn_output_config"] = {}

    def run(x: Floats) -> Floats:
        return dense(asked.transform(x))

    return run


def _coded(step: Any) -> Step:
    """An encoder of codes as tables: asked once what it makes of each that it knows, and of one that it does not."""
    asked = _bare(step)
    if any(codes.dtype.kind not in "fiub" for codes in step.categories_):
        return asked
    known = [np.sort(codes.astype(np.float64)) for codes in step.categories_]
    first = np.array([codes[0] for codes in known])
    base = asked(first[None, :])[0]
    if sum(map(len, known)) * len(base) > CELLS:
        return asked
    columns, owned = [], np.zeros(len(base), dtype=int)
    for place, codes in enumerate(known):
        rows = np.repeat(first[None, :], len(codes), axis=0)
        rows[:, place] = codes
        made = asked(rows)
        rows[0, place] = np.nanmax(codes, initial=0.0) + UNHEARD
        if (unheard := _quietly(asked, rows[:1])) is not None:
            made = np.concatenate([made, unheard])
        outputs = _moved(made, base)
        owned[outputs] += 1
        columns.append(Codes(codes, outputs, made[:, outputs]))
    return Coded(base, tuple(columns)) if (owned <= 1).all() else asked


def _moved(made: Floats, base: Floats) -> NDArray[np.int64]:
    """Outputs that are not everywhere as in ``base``."""
    return np.flatnonzero(~((made == base) | (np.isnan(made) & np.isnan(base))).all(axis=0)).astype(np.int64)


_NATIVE: dict[str, Callable[[Any], Step]] = {
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "SimpleImputer": _imputed,
    "FunctionTransformer": _function,
    **dict.fromkeys(ENCODERS, _coded),
}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


# ---------------------------------------------------------------------- text


def _table(step: Any, columns: list[str], model: Fitted, places: list[int]) -> Block | None:
    """What a transformer makes of text, column by column; None where a column's value changes another's output."""
    known = _known(step, len(columns))
    levels = [_levels(model.reference[name], known[at] if known else ()) for at, name in enumerate(columns)]
    asked = _Asked(step, columns, model)
    first = [[values[0]] for values in levels]
    base = asked(first)[0]
    if sum(map(len, levels)) * len(base) > CELLS:
        return None
    decided, owned = [], np.zeros(len(base), dtype=int)
    for place, values, at in zip(places, levels, range(len(columns)), strict=True):
        made = asked([values if other == at else value * len(values) for other, value in enumerate(first)])
        if known and (unheard := asked.unheard(first, at)) is not None:
            made = np.concatenate([made, unheard])
        outputs = _moved(made, base)
        owned[outputs] += 1
        decided.append(Levels(place, tuple(values), outputs, made[:, outputs]))
    return None if (owned > 1).any() else Table(base, tuple(decided), asked)


def _levels(column: pd.Series[Any], known: Sequence[Any]) -> list[str | None]:
    """The values that the reference has, or an encoder was fitted to; None for a gap."""
    levels: list[str | None] = sorted({*column[column.notna()].tolist(), *(v for v in known if isinstance(v, str))})
    return [*levels, None] if column.isna().any() or not levels else levels


class _Asked:
    """A transformer of text, asked with data frames."""

    def __init__(self, step: Any, columns: list[str], model: Fitted) -> None:
        self.step, self.columns = step, columns
        self.nulls = {name: null for name, null in model.nulls.items() if name in columns}

    def __call__(self, values: Sequence[Sequence[str | None]]) -> Floats:
        named = zip(self.columns, values, strict=True)
        frame = pd.DataFrame({name: pd.Series(list(column), dtype=object) for name, column in named})
        return dense(self.step.transform(as_fitted(frame, self.nulls)))

    def unheard(self, first: list[list[str | None]], at: int) -> Floats | None:
        """What [1, e] an encoder makes of any text in one column that it was not fitted to; None if it refuses it."""
        return _quietly(self, [[_UNHEARD] if other == at else value for other, value in enumerate(first)])


def _known(step: Any, columns: int) -> Sequence[Sequence[Any]]:
    """What an encoder was fitted to, a sequence a column; empty for what is none, or hangs on each text."""
    if type(step).__name__ == "Pipeline":
        *before, step = (one for _, one in step.steps)
        if any(type(one).__name__ != "SimpleImputer" for one in before):
            return ()
    known = list(step.categories_) if type(step).__name__ in ENCODERS else []
    return known if len(known) == columns else ()


def _quietly(asked: Callable[[Any], Floats], values: Any) -> Floats | None:
    """What is made of values that nobody fitted, of which an encoder may warn; None where it refuses them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return asked(values)
    except ValueError:
        return None
