"""Other known conversions that a window allows beside the chosen one: which are asked about, and which answer alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from selfheal.adapter import ColumnMap, InputMap
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.conversions import implausible
from selfheal.healing.fits import matching
from selfheal.healing.fits.known import Maps, by_declaration, by_name
from selfheal.healing.fits.placed import placed

LIKE = (0.005, 0.02)
"""Nats (Kullback-Leibler) and share of predictions by which two maps may differ and be alike."""

TENS, ODD = float(np.log(20)), -float(np.log(20))
"""Log odds against any other unit, before a look at what it explains: of a power of ten (percent, milli, kilo, cents),
and of one that reads values as what a column hardly holds (a mass below zero)."""

NAMED = float(np.log(20))
"""Log odds for a conversion into the unit that a column's name says: less than SURE, for names lie. Of 20 questions in
windows of 100 and 200 rows 7 went out right then; of 23 under names that lied towards a neighbour one, wrong."""

SURE = float(np.log(100))
"""Log odds from which a conversion is not asked about because of another: one wrong in a hundred such pairs."""

MOST = 16
"""Columns of one conversion that are asked, those with the fewest others first: of 64 pixels or 1,024 numbers of an
embedding none of which says what it was, the rest would hardly do."""


def of_columns(
    case: Case, columns: Maps, sure: Collection[str]
) -> tuple[dict[str, list[ColumnMap]], dict[str, list[ColumnMap]]]:
    """Per column, known conversions that fit as well: those that would answer otherwise, and those that answer alike.

    Not where another column, which could have been through one alone, says which it was.
    """
    by_column = _rivals(case, columns, sure)
    proba = case.base.proba_of_units(InputMap(columns).apply(case.raw))
    others = {c: [m for m in rivals if _matters(case, {**columns, c: m}, proba)] for c, rivals in by_column.items()}
    alike = {c: [m for m in rivals if m not in others[c]] for c, rivals in by_column.items() if not _tens(columns[c])}
    return others, alike


def _rivals(case: Case, columns: Maps, sure: Collection[str]) -> dict[str, list[ColumnMap]]:
    """Per column, known conversions that fit as well; none of a name that one of its columns leaves no doubt about.

    Those are asked first that have the fewest: of sixty-four pixels one is asked then, and sixteen where none says it.
    """
    rivals: dict[str, list[ColumnMap]] = {c: [] for c in columns}
    for words in {m.words for m in columns.values() if m.words}:
        named = [c for c, m in columns.items() if m.words == words]
        if any(c in sure for c in named):
            continue
        doubted = dict[str, list[ColumnMap]]()
        for c in sorted(named, key=lambda c: matching.listed(case, c))[:MOST]:
            doubted[c] = _as_likely(case, c, columns[c], matching.alternatives(case, columns, c))
            if not doubted[c]:
                break
        else:
            rivals |= doubted
    return rivals


def _as_likely(case: Case, column: str, chosen: ColumnMap, others: Sequence[ColumnMap]) -> list[ColumnMap]:
    """Those of other conversions that may be it as well as the chosen one, by where the column then lies.

    A place counts as distributed like Student's t of five degrees of freedom, with its bound at 2.3 of its spread: some
    six healthy windows say how far it may lie.
    """
    if not others or chosen.modulo is not None or column in case.code_columns:
        return list(others)
    values, usual = case.present(case.raw, column), case.present(case.stick.pool_frame, column)

    def odds(one: ColumnMap) -> float:
        before = TENS if _tens(one) else ODD if implausible(one, column, values, usual) else 0.0
        before += NAMED if by_name(case, column, one) else 0.0
        before = SURE if by_declaration(case, column, one) else before
        off = 2.3 * placed(case, column, one.apply(values)).ratio
        return float(before - 3 * np.log1p(off**2 / 5))

    return [one for one in others if odds(chosen) - odds(one) < SURE]


def _matters(case: Case, columns: Maps, proba: Floats) -> bool:
    """Whether maps give other predictions than those [n, k]: 1000 and 1024 do not."""
    other = case.base.proba_of_units(InputMap(columns).apply(case.raw))
    nats = float((proba * (np.log(np.maximum(proba, 1e-12)) - np.log(np.maximum(other, 1e-12)))).sum(axis=1).mean())
    return nats > LIKE[0] or float((case.model.decide(other) != case.model.decide(proba)).mean()) > LIKE[1]


def either(maps: list[ColumnMap]) -> str:
    """In words, which it may be."""
    return " or ".join(one.describe() for one in maps)


def _tens(one: ColumnMap) -> bool:
    tens = np.log10(abs(one.scale))
    return one.offset == 0 and bool(np.isclose(tens, round(tens)))
