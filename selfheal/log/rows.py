"""How a foreign log is read: some columns of some rows, as frames."""

from __future__ import annotations

from collections.abc import Collection, Generator
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

    def blame(self) -> str:
        """Which part of it cannot be read, after a frame could not be."""

    def scan(self, columns: Collection[str], part: Part, by: Bounded) -> Generator[pl.LazyFrame, None, None]:
        """At least those of ``columns`` that it has (all, where one is missing), of at least the rows of ``part``.

        The frames may have any types, each its own. Close it, where not all of it is read.

        Raises
        ------
        UnavailableError
            It cannot be read now.
        """
