"""Codes that do not mean what they meant: a look-up was renumbered, so that region 12 is now another region.

Every value is a known one and comes within its range, so no distance of distributions shows it, while the model reads
each row as another's. What shows it is how often each code comes: as they are the shares are off by far, and under
another numbering they are the ones that they were, be it by a number (:func:`recoded`) or in any order
(:func:`renumbered`, of words as well). Numbers with an order (ages, counts, hours) are left alone: there it is a
population that moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift.stats import FEW_LEVELS, Floats

FEWEST, MOST = 20, 2_000
"""Levels from which a numbering can be told, and to which a column has codes at all."""

ROWS = 5_000
"""Rows of each side that are counted: every share of a percent is settled by then."""

PER_LEVEL = 4
"""Rows that known windows must have for each level on average: else most shares are chance."""

ROUGH, BLOCKS = 0.5, 12
"""Mean squared step between neighbouring codes' shares, over what it is in any order (von Neumann 1941), from which the
numbers are names: 1 where neighbours have nothing in common, near 0 of an age. It is asked of single codes, of every
two together, every four, down to so many; of twelve in any order one in thirty lies below it."""

KNOWN = 0.9
"""Share of rows that another numbering of the known codes can hold; where it holds fewer, codes are new."""

OFF, BACK = 8.0, 4.0
"""Standard errors of the log-likelihood: beyond the first the shares are not those of the codes as they are, within the
second they are those of another numbering. Each holds for a hundred columns of a thousand windows by chance."""

DRAWS, NATURAL = 50, 1.1
"""Windows, and known windows, that are drawn from the known shares, to see how far (in total variation) they lie apart
by chance, and how much farther this one may."""

FEWEST_NAMES, MOST_NAMES = 5, 200
"""Codes or words from which another order can be told from other shares, and to which their shares can."""

MOVED, SPARE, CLEAR = 0.15, 1.2, 6.0
"""Total variation of the shares as they are, and twice what known windows have, from which the order is asked for; of
the sorted shares, as a multiple of what draws of the known ones have, that may be left; and how many times less that
must be. Of 20,573 columns of natural windows (300 to 3,000 rows) of 30 tables none passes; of 4,273 whose codes were
put in any other order 18 % do, for most are numbers with an order; of 6 to 40 drawn words 47 to 95 %."""

OTHERS = 3
"""Codes that come more or less often from which it is a numbering: two that changed places may be two crowds."""

ELSEWHERE = 0.02
"""Share of rows whose codes are not known, from which they are new ones and no renumbering."""

IN_ORDER = 0.9
"""Rank correlation of old and new numbers from which all went up or down, or turned around."""


def recoded(values: pd.Series[Any], natural: Sequence[pd.Series[Any]], seed: int = 0) -> str:
    """How the codes of a numeric column were renumbered, in words; empty where they are what they were.

    Parameters
    ----------
    values
        The window's [n].
    natural
        The reference, and recent healthy windows.
    """
    past = [_whole(one) for one in natural]
    now = _whole(values)
    if now is None or past[0] is None or not len(now) or not len(past[0]):
        return ""
    known = np.concatenate([one for one in past if one is not None])
    low, levels = int(known.min()), int(np.ptp(known)) + 1
    if not FEWEST <= levels <= MOST or len(known) < PER_LEVEL * levels:
        return ""
    if not _names(_counted(past[0] - low, levels)):
        return ""
    codes = now[(now >= low - levels) & (now < low + 2 * levels)] - low
    known_as = _Shares.of(_counted(known - low, levels))
    off = known_as.off(_counted(codes, levels))
    usual = max((known_as.off(_counted(one - low, levels)) for one in past[1:] if one is not None), default=0.0)
    if len(codes) < KNOWN * len(now) or off < max(OFF, 2 * usual):
        return ""
    return _shifted(codes, known_as, off, seed)


def renumbered(values: pd.Series[Any], natural: Sequence[pd.Series[Any]], seed: int = 0) -> str:
    """How codes or words stand for one another now, in words; empty where they are what they were.

    The shares are compared once code by code and once in order of size: under another numbering only the latter are
    what they were.

    Parameters
    ----------
    values
        The window's [n]: numbers or words.
    natural
        The reference, and recent healthy windows.
    """
    words = natural[0].dtype.kind not in "iufb"
    first = _read(natural[0], words)  # most columns are measured, and no more of them is read
    if first is None or not FEWEST_NAMES <= first.nunique() <= MOST_NAMES:
        return ""
    now = _read(values, words)
    if now is None:
        return ""
    past = [first, *(one for one in (_read(one, words) for one in natural[1:]) if one is not None and len(one))]
    known = pd.concat(past).value_counts().sort_index().astype(np.float64)
    codes, rows = known.index, float(known.sum())
    if len(codes) > MOST_NAMES or len(now) < PER_LEVEL * len(codes):
        return ""
    counts = _come(now, codes)
    if not words and not all(_names(each) and _rough(each) for each in (known.to_numpy(), counts)):
        return ""
    share, seen = known.to_numpy() / rows, counts / max(counts.sum(), 1.0)
    off, left = _apart(seen, share), _apart(np.sort(seen), np.sort(share))
    if counts.sum() < (1 - ELSEWHERE) * len(now) or off < max(MOVED, CLEAR * left):
        return ""
    chance = np.sqrt(share * (1 - share) * (1 / rows + 1 / counts.sum()))
    if (np.abs(seen - share) > BACK * chance).sum() < OTHERS:
        return ""
    if off < 2 * max(_apart(_come(one, codes) / len(one), share) for one in past):
        return ""
    rng = np.random.default_rng(seed)
    drawn, shares = (rng.multinomial(int(n), share, DRAWS) / n for n in (counts.sum(), rows))
    by_chance = max(_apart(np.sort(a), np.sort(b)) for a, b in zip(drawn, shares, strict=True))
    was, become = np.argsort(-share, kind="stable"), np.argsort(-seen, kind="stable")
    if left > SPARE * by_chance or (not words and _in_order(was, become)):
        return ""
    pairs = [f"{codes[b]} as {codes[a]} did" for a, b in zip(was, become, strict=True) if a != b][:3]
    return f"they come as often as ever, but for one another: {', '.join(pairs)}"


def _read(values: pd.Series[Any], words: bool) -> pd.Series[Any] | None:
    """At most :data:`ROWS` of the values, evenly spread; None where numbers are not whole."""
    if words:
        return values.iloc[:: max(1, len(values) // ROWS)].dropna().astype(str)
    whole = _whole(pd.to_numeric(values, errors="coerce"))
    return None if whole is None else pd.Series(whole)


def _come(values: pd.Series[Any], codes: pd.Index[Any]) -> Floats:
    """How often each of the codes comes [levels]."""
    return np.asarray(values.value_counts().reindex(codes, fill_value=0), dtype=np.float64)


def _apart(one: Floats, other: Floats) -> float:
    """Total variation."""
    return float(np.abs(one - other).sum() / 2)


def _rough(counts: Floats) -> bool:
    """The same by ranks (Bartels 1982): a count that is mostly 0 has an order."""
    ranks = pd.Series(counts).rank().to_numpy()
    return bool(0.5 * (np.diff(ranks) ** 2).mean() >= ROUGH * ranks.var())


def _in_order(was: NDArray[np.int64], become: NDArray[np.int64]) -> bool:
    """Whether the codes that come as often as others did lie by a number on, or the other way around."""
    return bool(abs(np.corrcoef(was, become)[0, 1]) >= IN_ORDER)


def _whole(values: pd.Series[Any]) -> NDArray[np.int64] | None:
    """At most :data:`ROWS` of the whole numbers, evenly spread; None where some are none."""
    numbers = values.iloc[:: max(1, len(values) // ROWS)].to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = numbers[np.isfinite(numbers)]
    if (np.abs(numbers) > 1e9).any() or (numbers % 1 != 0).any():
        return None
    return np.asarray(numbers, dtype=np.int64)


def _names(counts: Floats) -> bool:
    """Whether neighbouring numbers have nothing in common, so that they are names; and shares that tell them apart.

    Nor have neighbouring tens: a measurement that is converted and rounded has gaps, but lies high and low as any.
    """
    if counts.var() < 2 * counts.mean():  # hardly more than the chance of a count
        return False
    while len(counts) >= BLOCKS:
        if 0.5 * (np.diff(counts) ** 2).mean() < ROUGH * counts.var():
            return False
        counts = counts[: len(counts) // 2 * 2].reshape(-1, 2).sum(axis=1)
    return True


def _counted(codes: NDArray[np.int64], levels: int) -> Floats:
    """How often each known code comes [levels]."""
    return np.bincount(codes[(codes >= 0) & (codes < levels)], minlength=levels).astype(np.float64)


@dataclass(frozen=True)
class _Shares:
    """How often each code comes [levels], as so many rows told."""

    share: Floats
    rows: float

    @classmethod
    def of(cls, counts: Floats) -> _Shares:
        return cls((counts + 0.5) / (counts + 0.5).sum(), float(counts.sum()))

    def off(self, counts: Floats) -> float:
        """By how many standard errors rows are less likely under these shares than a draw of them is."""
        n, logs = counts.sum(), np.log(self.share)
        mean = float(self.share @ logs)
        # Shares that were told by so many rows lie off by themselves, half a nat a level.
        expected = mean - 0.5 * len(counts) / self.rows
        return float((n * expected - counts @ logs) / np.sqrt(max(n, 1.0) * (self.share @ (logs - mean) ** 2)))


def _shifted(codes: NDArray[np.int64], known: _Shares, off: float, seed: int) -> str:
    """By which number all codes went on, around the end or beyond it, if under just that they are what they were."""
    levels = len(known.share)
    counts = np.bincount(codes % levels, minlength=levels).astype(np.float64)
    tried = np.array([off, *(known.off(np.roll(counts, -k)) for k in range(1, levels))])
    best = int(np.abs(tried).argmin())
    if best == 0 or abs(tried[best]) > BACK or np.delete(tried, best).min() < OFF / 2:
        return ""
    rng = np.random.default_rng(seed)
    drawn, shares = (rng.multinomial(int(n), known.share, DRAWS) / n for n in (counts.sum(), known.rows))
    by_chance = np.abs(drawn - shares).sum(axis=1).max()
    if np.abs(np.roll(counts, -best) / counts.sum() - known.share).sum() > NATURAL * by_chance:
        return ""
    if best in (1, levels - 1) and levels <= FEW_LEVELS:
        return ""  # counting from 0 instead of 1 is undone
    by = best if best <= levels // 2 else best - levels
    return f"its codes lie {abs(by)} too {'high' if by > 0 else 'low'}: under that they come as often as ever"
