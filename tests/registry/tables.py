"""Tables as people have them: every kind of column, and whether the customer stayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

NUMBERS = ["age", "income", "visits"]
TEXTS = ["city", "plan"]
FEW = 240
Rows = Callable[..., pd.DataFrame]
"""A number of rows, and a seed."""


def customers(n: int = FEW, seed: int = 0, columns: list[str] | None = None, gaps: bool = False) -> pd.DataFrame:
    """Rows of every kind of column, and whether the customer stayed."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(45, 12, n),
            "income": rng.gamma(2.0, 20.0, n),
            "visits": rng.integers(0, 30, n),
            "city": rng.choice(["Bern", "Basel", "Chur"], n, p=[0.6, 0.3, 0.1]),
            "plan": rng.choice(["free", "paid"], n),
        }
    )
    stayed = (frame["visits"] > 12).astype(int)
    frame = frame[columns or [*NUMBERS, *TEXTS]]
    if gaps:
        frame = frame.assign(**{c: frame[c].mask(rng.random(n) < 0.1) for c in frame.columns})
    return frame.assign(stayed=stayed)


def gappy(n: int = FEW, seed: int = 0) -> pd.DataFrame:
    return customers(n, seed, gaps=True)


def numbers(n: int = FEW, seed: int = 0) -> pd.DataFrame:
    return customers(n, seed, columns=NUMBERS)


def gappy_numbers(n: int = FEW, seed: int = 0) -> pd.DataFrame:
    return customers(n, seed, columns=NUMBERS, gaps=True)


def with_city(n: int = FEW, seed: int = 0) -> pd.DataFrame:
    return customers(n, seed, columns=[*NUMBERS, "city"])


def nullable(n: int = FEW, seed: int = 0) -> pd.DataFrame:
    """pandas' own kinds of columns."""
    frame = customers(n, seed, gaps=True)
    return frame.assign(
        visits=frame["visits"].astype("Int64"),
        income=frame["income"].astype("Float64"),
        member=(frame["age"] > 40).astype("boolean"),
        city=frame["city"].astype("category"),
        plan=frame["plan"].where(frame["plan"].notna(), None).astype(object),
    )


def dated() -> pd.DataFrame:
    frame = numbers()
    return frame.assign(since=pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(len(frame)) % 90, unit="D"))


def in_days() -> pd.DataFrame:
    frame = dated()
    return frame.assign(since=(frame["since"] - pd.Timestamp("2026-01-01")).dt.days)


def embedded(n: int = FEW, seed: int = 0) -> pd.DataFrame:
    """Two of the numbers as one list a row."""
    frame = numbers(n, seed)
    return frame.drop(columns=["age", "income"]).assign(at=frame[["age", "income"]].to_numpy().tolist())


def ragged() -> pd.DataFrame:
    """Of several lengths."""
    frame = embedded()
    return frame.assign(at=[held[: 1 + k % 2] for k, held in enumerate(frame["at"])])


def apart(frame: pd.DataFrame) -> pd.DataFrame:
    """What preprocessing is fitted to: a column for each number of a list."""
    if "at" not in frame:
        return frame
    return frame.drop(columns="at").join(pd.DataFrame(frame["at"].tolist(), index=frame.index).add_prefix("at_"))


def two_kinds() -> pd.DataFrame:
    frame = customers(columns=["visits", "plan"])
    return frame.assign(plan=frame["plan"].astype(object).mask(frame.index % 9 == 0, 7))


def one_kind() -> pd.DataFrame:
    frame = two_kinds()
    return frame.assign(plan=frame["plan"].astype(str))


def named(*labels: Any) -> Rows:
    """The target in other words."""

    def made(n: int = FEW, seed: int = 0) -> pd.DataFrame:
        frame = numbers(n, seed)
        return frame.assign(stayed=np.array(labels)[frame["stayed"]])

    return made
