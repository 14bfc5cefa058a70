"""How a foreign log is read: some columns of some rows, as frames."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Part:
    """Which rows: of event time ``[start, end)`` in µs since 1970, numbered ``(after, last]``; None: no bound.

    ``undated``: instead, those without a time, or without a number where they are ``numbered``.
    """

    start: int | None = None
    end: int | None = None
    after: int | None = None
    last: int | None = None
    undated: bool = False
    numbered: bool = False


@dataclass(frozen=True)
class Bounded:
    """The columns that a :class:`Part` bounds, by their names in the log."""

    time: str | None = None
    order: str | None = None


class Rows(Protocol):
    """A folder, or a table of a database; it is only read."""

    @property
    def name(self) -> str:
        """What to call it in a message; without a password."""

    def scan(self, columns: Collection[str], part: Part, by: Bounded) -> Iterator[pl.LazyFrame]:
        """Those of ``columns`` that it has, of at least the rows of ``part``, in frames of any types.

        Raises
        ------
        UnavailableError
            It cannot be read now.
        """
