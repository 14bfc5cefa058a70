"""Networks of several inputs: a fitted preprocessing for each, put side by side, and the network around which they go.

What is made of them is a model like any other, with one preprocessing, one tensor [n, d_in] and a network that takes
it: it is cut, stored, served and healed as those are.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, chain, combinations, islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfheal.errors import InputError, nearest
from selfheal.parts.columns import dense
from selfheal.parts.network import PREPROCESS, ROWS, prepared, said, unwrapped
from selfheal.parts.several import EXACT, Form, Several

LEVELS = 10_000
"""Values of a column that are asked whether the network has a place for their code: each costs a row, once."""
TRIES = 256
"""Ways to give the inputs that are tried: all of them for four inputs of one column of codes each."""
_GIVEN = (
    "a fitted transformer of its own columns (of a DataFrame, so that it knows their names), or a list of numeric "
    "columns that are taken as they are"
)
_SPARE = (
    "Give what was never met a code of its own, for which the embedding has a row: "
    "make_pipeline(OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=-1), "
    "FunctionTransformer(np.digitize, kw_args={'bins': list(range(1000))})) counts from 1 and leaves 0 to it; or let "
    "the encoder refuse such rows, as OrdinalEncoder() does"
)
_GAPS = "A gap is no whole number: fill it before the encoder, with SimpleImputer say, or give encoded_missing_value="
_FEWER = "were there fewer values when the network was made"
_UNMET = "(never met)"
_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError)

Floats = NDArray[np.float64]


class _OutsideError(IndexError):
    """A code for which an embedding has no row."""


@dataclass(frozen=True)
class _Input:
    """One input: what makes it, of which columns, and what that made of the reference's first rows."""

    name: str
    step: Any
    columns: list[str]
    made: Floats
    integer: bool

    @property
    def what(self) -> str:
        """How messages name it."""
        return _what(self.name)

    def make(self, frame: pd.DataFrame) -> Floats:
        """Its columns, float64 [n, width]."""
        return dense(_made(self.step, frame[self.columns]))


def join(
    inputs: Any, preprocess: Any, module: Any, backbone: Any, frame: pd.DataFrame
) -> tuple[Any, nn.Module | None, nn.Module | None]:
    """One preprocessing of several, and the network as a module of one input.

    Parameters
    ----------
    inputs
        Name of the argument of ``forward()`` → a fitted transformer, or a list of numeric columns; or a list of these,
        in the order of ``forward()``.
    preprocess
        Must be None.
    module, backbone
        As MonitoredModel is given them; the one that is a module is taken.
    frame
        The reference's features, as preprocessing was fitted to them.

    Returns
    -------
    tuple
        A fitted ColumnTransformer, module and backbone.

    Raises
    ------
    InputError
        Inputs and ``forward()`` do not fit, or there are codes, or may be, for which the network has no place.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.frozen import FrozenEstimator

    if preprocess is not None:
        raise InputError("preprocess= and inputs= are both given: inputs= holds a preprocessing for each input, alone")
    by_name, entries = isinstance(inputs, Mapping), _inputs(inputs, frame)
    steps = [(i.name, i.step if isinstance(i.step, str) else FrozenEstimator(i.step), i.columns) for i in entries]
    with said("inputs cannot be put side by side", PREPROCESS):
        # The frozen steps stay as they were fitted; what is fitted are the columns that each is given.
        made = ColumnTransformer(steps, sparse_threshold=0).fit(frame.iloc[:ROWS])
    what, network = ("backbone", backbone) if module is None else ("module", module)
    if not isinstance(network, nn.Module):
        return made, module, backbone  # what is missing is said by who takes it
    whole = _around(unwrapped(network, what), entries, by_name, _Rows(frame, made.transform))
    return (made, whole, backbone) if what == "module" else (made, module, whole)


# ---------------------------------------------------------------------- what makes each input


def _inputs(inputs: Any, frame: pd.DataFrame) -> list[_Input]:
    if not isinstance(inputs, Mapping | list | tuple) or not len(inputs):
        raise InputError(
            f"inputs is {type(inputs).__name__ if inputs else 'empty'}; it maps each argument of forward() to "
            f"{_GIVEN}; or it is a list of these, in the order of forward()"
        )
    named = inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs)
    return [_input(str(name), value, frame) for name, value in named]


def _input(name: str, value: Any, frame: pd.DataFrame) -> _Input:
    what = _what(name)
    step, columns = _columns(what, value, list(frame.columns))
    if isinstance(step, str):
        texts = [c for c in columns if frame[c].dtype.kind not in "iufb"]
        if texts:
            raise InputError(f"{what}: column {texts[0]!r} holds text; give a fitted encoder, OrdinalEncoder say")
    with said(f"{what} cannot transform the reference's first rows", PREPROCESS):
        made = _made(step, frame[columns].iloc[:ROWS])
        rows = dense(made)
    if rows.ndim != 2 or not rows.shape[1]:
        raise InputError(
            f"{what} has no columns: its transformer makes {list(rows.shape)}; leave it out, or give it some"
        )
    return _Input(name, step, columns, rows, np.dtype(getattr(made, "dtype", object)).kind in "iu")


def _what(name: str) -> str:
    return f"inputs[{name if name.isdecimal() else repr(name)}]"


def _columns(what: str, value: Any, features: list[str]) -> tuple[Any, list[str]]:
    """What makes an input, and the columns that go into it."""
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        if not value:
            raise InputError(f"{what} has no columns; leave it out, or name some")
        step, columns = "passthrough", list(value)
    elif hasattr(value, "transform") and not isinstance(value, type):
        names = getattr(value, "feature_names_in_", None)
        # A ColumnTransformer takes what it needs of any frame, one that was fitted to more columns than these too.
        columns = features if names is None or picks(value) else [str(name) for name in names]
        step, width = value, getattr(value, "n_features_in_", len(features))
        if names is None and width != len(features):
            raise InputError(
                f"{what}: {type(value).__name__} was fitted to {width} columns without names, and the reference has "
                f"{len(features)}; fit it to a DataFrame of its columns"
            )
    else:
        raise InputError(f"{what} is {type(value).__name__}; give {_GIVEN}")
    missing = [name for name in columns if name not in features]
    if missing:
        raise InputError(
            f"{what}: column {missing[0]!r} is no feature of the reference{nearest(missing[0], features)} "
            f"(features: {', '.join(features[:20])})"
        )
    return step, columns


def picks(step: Any) -> bool:
    """Whether a transformer takes its columns by name from whatever frame it is given."""
    return type(step).__name__ == "ColumnTransformer" or (
        type(step).__name__ == "Pipeline" and bool(step.steps) and picks(step.steps[0][1])
    )


def _made(step: Any, columns: pd.DataFrame) -> Any:
    """What a step makes of its columns, as an array of the dtype that it chose."""
    made = columns if isinstance(step, str) else step.transform(columns)
    return made if hasattr(made, "toarray") else np.asarray(made)


# ---------------------------------------------------------------------- how the network takes them


@dataclass(frozen=True)
class _Rows:
    """The reference's features, and what makes the network's input of them."""

    frame: pd.DataFrame
    transform: Callable[[pd.DataFrame], Any]

    def tensor(self, places: Any) -> Tensor:
        """Rows by their places, float32 [n, d_in]."""
        return torch.from_numpy(np.ascontiguousarray(dense(self.transform(self.frame.iloc[places])), dtype=np.float32))


def _around(network: nn.Module, entries: list[_Input], by_name: bool, rows: _Rows) -> Several:
    """The network with its inputs in the first form that it takes, asked for every code that it may meet."""
    by_name = _bound(network, [i.name for i in entries], by_name)
    forms = _sides(entries)
    asked = prepared(network, "the network")  # in the floats that are served
    given = _taken(asked, entries, forms, by_name, rows.tensor(range(min(3, len(rows.frame)))))
    made = Several(asked, given, by_name=by_name)
    for one, form in zip(entries, given, strict=True):
        if form.whole:
            _check_codes(made, one, form, rows)
    return Several(network, given, by_name=by_name)


def _bound(network: nn.Module, names: list[str], by_name: bool) -> bool:
    """Whether ``forward()`` is given its inputs by name; refused where it does not take them."""
    parameters = inspect.signature(network.forward).parameters.values()
    takes = _takes(network)
    kinds = {p.kind for p in parameters}
    named = [p for p in parameters if p.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)]
    needed = [p.name for p in named if p.default is inspect.Parameter.empty]
    if not by_name or (not named and inspect.Parameter.VAR_POSITIONAL in kinds):
        most = math.inf if inspect.Parameter.VAR_POSITIONAL in kinds else len(named)
        if not len(needed) <= len(names) <= most:
            raise InputError(f"inputs holds {len(names)}, and {takes} takes {len(named)}; give one for each, in order")
        return False
    unknown = [name for name in names if name not in [p.name for p in named]]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise InputError(
            f"inputs: {takes} has no argument {unknown[0]!r}{nearest(unknown[0], [p.name for p in named])}; name each "
            "input as forward() does, or give a list in its order. A forward() that takes all of them as one dict is "
            "called by one that takes them by name"
        )
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(f"inputs: the argument {missing[0]!r} of {takes} has no input; give {_GIVEN}")
    return True


def _takes(network: nn.Module) -> str:
    return f"{type(network).__name__}.forward({', '.join(inspect.signature(network.forward).parameters)})"


def _sides(entries: list[_Input]) -> list[Form]:
    """The inputs side by side, each as its transformer makes it."""
    ends = list(accumulate(i.made.shape[1] for i in entries))
    return [
        Form(i.name, end - i.made.shape[1], end, i.integer and _is_whole(i.made))
        for i, end in zip(entries, ends, strict=True)
    ]


def _taken(network: nn.Module, entries: list[_Input], forms: list[Form], by_name: bool, rows: Tensor) -> list[Form]:
    """The forms that the network takes, nearest to what the transformers make first.

    An embedding takes whole numbers alone and a linear layer none; which of the two meets an input only forward() says.
    """
    turns = [(k, "whole") for k, i in enumerate(entries) if _is_whole(i.made)]
    turns += [(k, "flat") for k, i in enumerate(entries) if i.made.shape[1] == 1]
    refused: dict[str, str] = {}
    for turned in islice(chain.from_iterable(combinations(turns, k) for k in range(len(turns) + 1)), TRIES):
        tried = list(forms)
        for place, key in turned:
            one = tried[place]
            tried[place] = replace(one, whole=one.whole != (key == "whole"), flat=one.flat != (key == "flat"))
        error = _refusal(Several(network, tried, by_name=by_name), rows)
        if error is None:
            return tried
        if isinstance(error, _OutsideError):
            raise InputError(f"inputs: {error} {_SPARE}") from error
        refused.setdefault(" ".join(str(error).split()), ", ".join(map(str, tried)))
    refusals = "; ".join(f"{how}: {why}" for why, how in list(refused.items())[:3])
    gaps = [i.what for i in entries if np.isnan(i.made).any()]
    raise InputError(
        f"{_takes(network)} takes these inputs in no form. {refusals}. Each is given as its transformer makes it: "
        "float32, or int64 where all of it is whole numbers; [n, columns], or [n] where it has one"
        f"{f'. {gaps[0]} has gaps. {_GAPS}' if gaps else ''}"
    )


def _refusal(network: Several, rows: Tensor) -> Exception | None:
    """Why a network gives no answer a row; None where it does."""
    handles = [
        part.register_forward_pre_hook(_within(name))
        for name, part in network.network.named_modules()
        if isinstance(part, nn.Embedding)
    ]
    rows = rows.repeat(-(-3 // len(rows)), 1)  # a shape that the rows have by chance is told by fewer of them
    try:
        with torch.no_grad():
            outs = [network(rows), network(rows[:-1])]
    except _ERRORS as error:
        return error
    finally:
        for handle in handles:
            handle.remove()
    if not all(isinstance(out, Tensor) for out in outs):
        return None  # said by who takes it
    shapes = [list(out.shape) for out in outs]
    # A column as [n, 1] gives an embedding [n, 1, d], and that one dimension more to all that comes after it.
    if len(shapes[0]) > 2 or shapes != [[len(rows), *shapes[0][1:]], [len(rows) - 1, *shapes[0][1:]]]:
        return ValueError(f"it gives {shapes[0]} for {len(rows)} rows and {shapes[1]} for {len(rows) - 1}")
    return None


def _within(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def check(part: nn.Module, inputs: tuple[Any, ...]) -> None:
        codes, most = inputs[0] if inputs else None, int(getattr(part, "num_embeddings", 0))
        if isinstance(codes, Tensor) and not codes.is_floating_point() and codes.numel():
            for code in (int(codes.min()), int(codes.max())):
                if not 0 <= code < most:
                    cause = "is it what the encoder gives a value that it never met" if code < 0 else _FEWER
                    raise _OutsideError(
                        f"code {code} is outside the embedding {name!r}, which has rows 0 to {most - 1}: {cause}?"
                    )

    return check


def _is_whole(made: Floats) -> bool:
    return bool(np.isfinite(made).all() and (made == np.round(made)).all())


# ---------------------------------------------------------------------- codes


def _check_codes(network: Several, one: _Input, form: Form, rows: _Rows) -> None:
    """Refuse codes that the reference holds, or that a value it lacks may become, and the network has no place for."""
    places = set(range(min(ROWS, len(rows.frame))))
    for name in one.columns:
        places.update(np.flatnonzero(~rows.frame[name].duplicated().to_numpy())[:LEVELS].tolist())
    met = sorted(places)
    why = _misfit(one.make(rows.frame.iloc[met]), network, rows.tensor(met), form)
    if why:
        raise InputError(f"{one.what}: {why}")
    start = rows.tensor([0])
    strange = [_strange(rows.frame[name]) for name in one.columns]
    for values in zip(*strange, strict=True):  # all columns at once, for each costs milliseconds
        if _met_alone(network, one, form, rows, start, dict(zip(one.columns, values, strict=True))) is None:
            continue
        for name, value in zip(one.columns, values, strict=True):
            why = _met_alone(network, one, form, rows, start, {name: value}) or ""
            if why:
                raise InputError(
                    f"{one.what}: {value!r} in column {name!r}, which no row of the reference has but a later one may, "
                    f"gives none of the network's codes: {why}"
                )


def _strange(column: pd.Series[Any]) -> list[Any]:
    """Values that a column has not, of its kind; the same number of them for each."""
    if column.dtype.kind not in "iufb":
        return [_UNMET, None, _UNMET, None]
    values = column.dropna().astype(float)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    return [low - 1, high + 1, low + 0.5, 2.0 * EXACT + high]


def _met_alone(
    network: Several, one: _Input, form: Form, rows: _Rows, start: Tensor, values: dict[str, Any]
) -> str | None:
    """Why a row of these values is not answered; empty where it is, or refused before, None where all of it is fine."""
    row = rows.frame.iloc[:1][one.columns].assign(**{name: [value] for name, value in values.items()})
    try:
        made = one.make(row)
    except Exception:  # whatever a transformer raises: such rows are refused, and say so
        return ""
    entered = start.clone()
    entered[:, form.start : form.stop] = torch.from_numpy(made).float()
    return _misfit(made, network, entered, form) or None


def _misfit(made: Floats, network: Several, entered: Tensor, form: Form) -> str:
    """What is wrong with codes, and the way out; empty where the network answers to them."""
    odd = made[~(np.isfinite(made) & (made == np.round(made)))]
    if odd.size:
        return f"{odd[0]:g} is no whole number. {_GAPS if np.isnan(odd[0]) else _SPARE}"
    far = made[np.abs(made) > EXACT]
    if far.size:
        return f"the code {far[0]:.0f} is beyond 2**24, from where 32-bit floats skip whole numbers. {_SPARE}"
    error = _refusal(network, entered)
    return "" if error is None else f"{' '.join(str(error).split())} {_SPARE}"
