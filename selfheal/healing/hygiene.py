"""Before anything is asked: which rows of the window can be used, and which columns are plainly broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift.guards import problems, values_put_in
from selfheal.drift.stats import ks, ks_chance
from selfheal.healing.conversions import CONVERSIONS
from selfheal.healing.segments import named
from selfheal.input_map import BEYOND, bounded, fractional
from selfheal.model import MonitoredModel

MIN_ROWS = 100
"""Fewer rows say too little: below 400 prior and rule heals are missed, below 100 half a window is noise."""

MAX_ROWS = 5000
"""A larger window is sampled down to this, in time order: every statistic is settled to a percent by then."""

WILD = 50.0
"""A value farther than this many of the window's own interquartile ranges from its median is a broken row, not a
unit: the quartiles stand while less than a quarter of the rows is broken."""

SLACK = 0.25
"""Share of rows without a usable value in a column that are dropped; more is a data fault (a fifth of the window in
gross poison costs nothing, docs/notes.md)."""

TAIL = (0.9995, 2.0)
"""A value this many times as far out as the reference's quantile is odd, in interquartile ranges of its own ..."""

ODD_COLUMNS = 2
"""... and a row with so many of them is nonsense: a unit moves all rows alike, a new pattern is odd in one column."""

NATURAL = 1.3
"""The share of rows left out may exceed that of any healthy window by this factor, like every natural bound ..."""

SLIGHT = (0.02, 4.0)
"""... or be this share, and so many standard errors: then nothing is said of them."""


RECODED = 0.2
"""Share of rows with words that preprocessing refuses from which a column speaks another code (as in broken)."""

ONE_VALUE = 0.5
"""Share of the rows left out that one value must have: noise does not repeat itself."""

GAP = (0.98, 0.05, 2.0)
"""Values of another unit leave a gap: these quantiles, of the other rows' distances from the middle and of theirs, lie
apart by this factor. In a tail they lie side by side, however heavy: storms in a month of drizzle."""

BEYOND_HEALTHY = 0.1
"""Share of them that may lie beyond all healthy values where they are more of a tail that healthy windows have."""

ALL = 0.95
"""Share of them that one value has in every column where they are copies of one row."""

FAR = 0.3
"""KS distance from which two samples are not of one column, however few they are."""

RARE = 0.02
"""Share of any healthy window's rows up to which a number is rare in its column."""


@dataclass(frozen=True)
class Cleaned:
    """The usable rows, and what was wrong.

    Attributes
    ----------
    rows : DataFrame [m, d], raw, in the window's order.
    dropped
        Share of rows left out.
    faults
        Broken columns, in words; any of them makes the window a data fault.
    parts
        The rows left out in words, where they are more than in any healthy window: how many, by which columns, and
        what separates them from the others.
    nonsense
        Whether they are so in most columns and by nothing that separates them: noise, and no fault of a column.
    sent_again : bool [m]
        Rows that came more often than is usual, of which the further copies are left out.
    wild : DataFrame [k, d], raw
        Those of the rows left out that can be read.
    unread
        How many cannot be, and by which columns, in words; empty where few.
    put_in
        Columns in which one value stands here and there on many rows, in words: a fault, beside which others are asked.
    """

    rows: pd.DataFrame
    dropped: float
    faults: list[str]
    parts: tuple[str, ...] = ()
    nonsense: bool = False
    sent_again: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    wild: pd.DataFrame = field(default_factory=pd.DataFrame)
    unread: str = ""
    put_in: tuple[str, ...] = ()


def clean(model: MonitoredModel, window: pd.DataFrame, healthy: Sequence[pd.DataFrame] = (), seed: int = 0) -> Cleaned:
    """Drop rows that cannot be read, are wild or replayed; name columns that are missing, empty, text or frozen.

    More than :data:`MAX_ROWS` that are left are sampled, in time order.

    Parameters
    ----------
    healthy
        Healthy windows in model units: what has been frozen or missing there is no fault (a dry week has no rain).
    """
    faults = [p.text for p in problems(window, model, healthy, slack=SLACK) if p.kind != "too few rows"]
    if faults or not len(window):
        return Cleaned(window.iloc[:0], 0.0, faults)
    sent = _typed(model, window)
    strange = model.refused_words(sent)
    if recoded := _strange(sent, strange, RECODED):
        return Cleaned(window.iloc[:0], 0.0, recoded)
    frame = bounded(_known(sent))
    read = _finite(model, sent) & ~_any(strange, len(sent))
    usual = _Usual.of(model)
    wild = _wild(model, frame, usual) & read
    read &= wild | ~_beyond(model, sent)
    typed = [_typed(model, past) for past in healthy]
    spare, copied = _replayed(frame, [_typed(model, model.reference), *typed])
    kept = np.flatnonzero(read & ~wild & ~spare)  # what is beyond any quantity is wild, or not read
    if len(kept) > MAX_ROWS:
        kept = np.sort(np.random.default_rng(seed).choice(kept, MAX_ROWS, replace=False))
    natural = max((float(_wild(model, past, usual).mean()) for past in typed), default=0.0)
    parts = _parts(model, frame, wild, typed, natural)
    return Cleaned(
        frame.iloc[kept],
        float((~read | wild).mean()),
        [],
        *parts,
        copied[kept],
        frame[wild & ~spare],
        _unread(model, sent, read, strange),
        values_put_in(window, model, healthy),
    )


def usable(model: MonitoredModel, frame: pd.DataFrame) -> pd.DataFrame:
    """The features of the rows whose every number is finite where the reference's are."""
    typed = _typed(model, frame)
    return typed[_finite(model, typed) & ~_any(model.refused_words(typed), len(typed))]


def _typed(model: MonitoredModel, frame: pd.DataFrame) -> pd.DataFrame:
    """The features: numbers as numbers (NaN where they are none), words as words."""
    frame = frame[list(model.features)]
    frame = frame.assign(**{c: pd.to_numeric(frame[c], errors="coerce") for c in _numeric(model)})
    # Numbers in a column of words are words never seen, not a reason for the preprocessing to fail.
    words = [c for c in model.features if _of_words(model.reference[c]) and not _of_words(frame[c])]
    return frame.assign(**{c: frame[c].astype(object).map(str, na_action="ignore") for c in words})


def _numeric(model: MonitoredModel) -> list[str]:
    return [c for c in model.features if model.dtypes[c] != "str"]


def _of_words(column: pd.Series) -> bool:
    """Whether every value that is there is text."""
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    return bool(pd.api.types.infer_dtype(values, skipna=True) == "string")


def _finite(model: MonitoredModel, frame: pd.DataFrame) -> NDArray[np.bool_]:
    values = frame[_numeric(model)].to_numpy(dtype=np.float64)
    strict = frame[[c for c in _numeric(model) if c not in model.nullable]].to_numpy(dtype=np.float64)
    return np.asarray(~np.isinf(values).any(axis=1) & np.isfinite(strict).all(axis=1))


def _any(marked: Mapping[str, NDArray[np.bool_]], n: int) -> NDArray[np.bool_]:
    """Rows [n] that are marked in some column."""
    return np.asarray(np.logical_or.reduce([np.zeros(n, dtype=bool), *marked.values()]))


def _beyond(model: MonitoredModel, frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Rows with a number that no quantity is."""
    return np.asarray((np.abs(frame[_numeric(model)].to_numpy(dtype=np.float64)) > BEYOND).any(axis=1))


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with infinities as missing values."""
    numbers = fractional(frame)
    infinite = numbers.abs() == np.inf
    return frame.assign(**numbers.mask(infinite)) if infinite.to_numpy().any() else frame


def _unread(
    model: MonitoredModel, frame: pd.DataFrame, read: NDArray[np.bool_], strange: Mapping[str, NDArray[np.bool_]]
) -> str:
    """Rows without a number, and with words that preprocessing refuses, where they are more than a few."""
    empty = ~read & ~_any(strange, len(frame))
    columns = [c for c in _numeric(model) if not (frame[c][empty].abs() <= BEYOND).all()]
    parts = [f"{empty.mean():.0%} of rows have no number in {', '.join(columns)}"] if empty.mean() > SLIGHT[0] else []
    parts += _strange(frame, strange, SLIGHT[0])
    return "left out: " + "; ".join(parts) if parts else ""


def _strange(frame: pd.DataFrame, strange: Mapping[str, NDArray[np.bool_]], least: float) -> list[str]:
    """Of which columns more than that share of the rows hold words that preprocessing refuses, in words."""
    return [
        f"{rows.mean():.0%} of rows hold a {'word' if frame[column].dtype == object else 'value'} in {column!r} that "
        f"preprocessing refuses, such as {str(frame[column][rows].iloc[0])[:40]!r}: a new value, or another spelling?"
        for column, rows in strange.items()
        if rows.mean() > least
    ]


@dataclass(frozen=True)
class _Usual:
    """What rows of the reference hold.

    Attributes
    ----------
    wide : bool [d], numeric columns that have a width.
    tails : float [d], how far out a number must lie to be odd.
    least
        Odd columns that a row must have, beyond those that one row in a thousand has.
    whole : bool [d], columns of whole numbers.
    """

    wide: NDArray[np.bool_]
    tails: NDArray[np.float64]
    least: int
    whole: NDArray[np.bool_]

    @classmethod
    def of(cls, model: MonitoredModel) -> _Usual:
        far = _far(model, model.reference)
        tails = np.minimum(np.maximum(TAIL[1] * np.quantile(far, TAIL[0], axis=0), 1.0), WILD)
        odd = np.sort((far > tails).sum(axis=1))
        least = max(ODD_COLUMNS, int(odd[min(int(0.999 * len(odd)), len(odd) - 1)]) + 1)
        values = model.reference[_numeric(model)].to_numpy(dtype=np.float64, na_value=np.nan)
        whole = np.all(np.nan_to_num(values) % 1 == 0, axis=0)
        return cls(np.any(far, axis=0), tails, least, whole)


def _wild(model: MonitoredModel, frame: pd.DataFrame, usual: _Usual) -> NDArray[np.bool_]:
    """Rows with one value that no unit explains, or with odd ones in several columns at once."""
    # Where half of the healthy values are one, a window's quartiles may be a step apart: that is no width.
    far = np.where(usual.wide, _far(model, frame), 0.0)
    tail = far > usual.tails
    broken = tail.any(axis=1) & ((tail | _fractions(model, frame, usual.whole)).sum(axis=1) >= ODD_COLUMNS)
    return np.asarray((far > WILD).any(axis=1) | (tail.sum(axis=1) >= usual.least) | broken)


def _fractions(model: MonitoredModel, frame: pd.DataFrame, whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a number is no whole one in a column of whole ones, [n, d]; nowhere in a column where most are so."""
    values = frame[_numeric(model)].to_numpy(dtype=np.float64, na_value=np.nan)
    broken = np.isfinite(values) & (np.nan_to_num(values) % 1 != 0) & whole
    return np.asarray(broken & (broken.mean(axis=0) < 0.5))


def _far(model: MonitoredModel, frame: pd.DataFrame) -> NDArray[np.float64]:
    """How many interquartile ranges of its column every number lies from the middle, [n, d]; what is missing: 0."""
    values = frame[_numeric(model)].to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.where(np.isfinite(values), values, np.nan)
    far = np.zeros(known.shape)
    there = np.isfinite(known).any(axis=0)
    middle = np.nanquantile(known[:, there], 0.5, axis=0)
    # Values that are there, not some between them: of a flag that is set in a quarter of the rows a hair's breadth.
    low = np.nanquantile(known[:, there], 0.25, axis=0, method="lower")
    high = np.nanquantile(known[:, there], 0.75, axis=0, method="higher")
    wide = np.where(high > low, high - low, np.inf)
    far[:, there] = np.nan_to_num(np.abs(known[:, there] - middle) / wide)
    return far


def _parts(
    model: MonitoredModel, frame: pd.DataFrame, wild: NDArray[np.bool_], healthy: Sequence[pd.DataFrame], natural: float
) -> tuple[tuple[str, ...], bool]:
    """What is to be said of the wild rows, where they are more than natural; and whether they are mere nonsense."""
    slight, deviations = SLIGHT
    bound = max(NATURAL * natural, slight + deviations * float(np.sqrt(slight / max(len(frame), 1))))
    share = float(wild.mean())
    chance = deviations * float(np.sqrt(max(natural, 1 / len(frame)) / len(frame)))
    if share <= min(bound, NATURAL * natural + chance):
        return (), False
    far = _far(model, frame)[wild]
    odd = [c for c, each in zip(_numeric(model), far.T, strict=True) if (each > WILD).mean() > 0.25] or [
        c for c, each in zip(_numeric(model), far.T, strict=True) if np.median(each) > 1
    ]
    if natural and not any(_gap(frame, wild, c) or _beyond_healthy(frame[c][wild], c, healthy) for c in odd):
        return (), False  # healthy windows have such a tail too, and this one has more of it
    telling = wild | (frame[odd] != 0).all(axis=1).to_numpy()  # zeros are zeros in any unit
    where, how = named(frame[telling], wild[telling], odd), _alike(frame, wild, odd)
    if share <= bound and not where:
        return (), False  # so few are worth a word only where something else tells them
    words = f"{share:.0%} of rows hold values far from all others in {', '.join(odd)} (bound {bound:.1%})"
    words += f": {how}" if how else ""
    noise = not where and not how and 2 * len(odd) > far.shape[1]
    return (words + (f"; they are the rows where {where}" if where else ""),), noise


def _alike(frame: pd.DataFrame, wild: NDArray[np.bool_], odd: Sequence[str]) -> str:
    """What the wild rows have in common where they are no noise, in words: one value, or all in another unit."""
    units = []
    for column in odd:
        values = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
        theirs, others = (part[np.isfinite(part)] for part in (values[wild], values[~wild]))
        levels, counts = np.unique(theirs, return_counts=True)
        if len(theirs) and counts.max() > ONE_VALUE * len(theirs):
            return f"{column} is {levels[counts.argmax()]:g} there"
        chance = ks_chance(len(theirs), len(others))
        near = min(chance, FAR) if _gap(frame, wild, column) else 0.0
        fits = [c.map for c in CONVERSIONS if ks(c.map.apply(theirs), others) < near]
        units += [f"{column} is {fits[0].describe()} there"] if fits else []
    return ", ".join(units) if len(units) == len(odd) else ""


def _gap(frame: pd.DataFrame, wild: NDArray[np.bool_], column: str) -> bool:
    """Whether a column's wild values lie apart from the others."""
    values = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
    away = np.abs(values - np.nanmedian(values))
    there = np.isfinite(away)
    if not (there & wild).any() or not (there & ~wild).any():
        return True
    of_others, of_theirs, factor = GAP
    near, far = (np.quantile(away[there & rows], q) for rows, q in ((~wild, of_others), (wild, of_theirs)))
    return bool(far > factor * near)


def _beyond_healthy(theirs: pd.Series, column: str, healthy: Sequence[pd.DataFrame]) -> bool:
    """Whether more than a tenth of the wild values lie where no healthy one of the column did."""
    low, high = (getattr(pd.concat([past[column] for past in healthy]), end)() for end in ("min", "max"))
    return float(((theirs < low) | (theirs > high)).mean()) > BEYOND_HEALTHY


def _copies(frame: pd.DataFrame, shift: float | None) -> pd.Series:
    """A code per row, the same for near-copies: numbers within a cell of a 100th to a 1000th of their spread.

    The cells begin ``shift`` of their width lower; with None only equal rows have one code.
    """
    numbers = frame.select_dtypes("number")
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    if shift is not None and values.size:
        low, high = (numbers.quantile([0.25, 0.75])).to_numpy()
        cell = 10.0 ** np.floor(np.log10(np.where(high > low, high - low, 100.0) / 100))
        values = np.floor(values / cell + shift)
    words = [pd.util.hash_array(frame[c].to_numpy(dtype=object)) for c in frame.columns.difference(numbers.columns)]
    hashed = pd.util.hash_array(np.ascontiguousarray(values).ravel()).reshape(values.shape)
    every = np.column_stack([hashed, *words]) if words else hashed
    odd = np.random.default_rng(0).integers(2**63, size=every.shape[1], dtype=np.uint64) * 2 + 1
    return pd.Series(every @ odd, index=frame.index)  # modulo 2^64


def _replayed(frame: pd.DataFrame, past: Sequence[pd.DataFrame]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows that repeat another one, beyond what is usual, and rows that have such copies.

    Of each row as many copies are kept as healthy rows have of it. A client that retries, a log that is written twice:
    no number of copies is too small, sixty rows five times moved the expected class shares by a tenth. Rows that are
    alike because a value was put in for theirs are no copies: that is a fault of their columns.
    """
    n = len(frame)
    spare, copied = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    usual = [past[0].iloc[start : start + n] for start in range(0, len(past[0]), n)] + list(past[1:])
    # Where near-copies are common (small stones of one cut), equal rows may still be rare.
    for shift in (None, 0.0, 0.5):
        codes = _copies(frame, shift)
        rate = float(codes.duplicated().mean())
        slight, deviations = SLIGHT
        if rate <= slight + deviations * float(np.sqrt(slight / n)):
            continue
        copies = [_copies(block, shift) for block in usual if len(block)]
        if rate <= NATURAL * max(float(each.duplicated().mean()) for each in copies):
            continue
        known = pd.concat(copies)
        expected = codes.map(known.value_counts()).fillna(0.0) * n / len(known)
        more = codes.groupby(codes).cumcount() >= np.maximum(1, np.ceil(expected + 3 * np.sqrt(expected)))
        if not _filled(frame[more], usual):
            spare |= more.to_numpy()
            copied |= codes.isin(codes[more]).to_numpy()
    return spare, copied


def _filled(rows: pd.DataFrame, usual: Sequence[pd.DataFrame]) -> bool:
    """Whether most of some rows hold one number where few healthy rows do, in some columns and not in all."""
    numbers = rows.select_dtypes("number")
    most = {c: shares for c in numbers if len(shares := numbers[c].value_counts(normalize=True))}
    put_in = [c for c, shares in most.items() if shares.iloc[0] > ONE_VALUE]
    if all(shares.iloc[0] > ALL for shares in most.values()):
        return False
    before = [max(float((past[c] == most[c].index[0]).mean()) for past in usual if len(past)) for c in put_in]
    return min(before, default=1.0) < RARE
