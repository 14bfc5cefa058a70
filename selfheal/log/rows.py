"""How a foreign log is read: some columns of some rows, as frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from polars.exceptions import PolarsError

from selfheal.errors import UnavailableError
from selfheal.log.places import without_secrets

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

    def moved(self, *, failed: bool) -> bool:
        """Whether what the last scan read has been rewritten or removed meanwhile; ``failed``: it could not be read."""

    def scan(self, columns: Collection[str], part: Part, by: Bounded) -> Generator[pl.LazyFrame, None, None]:
        """At least those of ``columns`` that it has (all, where one is missing), of at least the rows of ``part``.

        The frames may have any types, each its own. Close it, where not all of it is read.

        Raises
        ------
        UnavailableError
            It cannot be read now.
        """


ENCODED = "no window is handled before it is: write it in UTF-8, or take it away"
"""What to do with a text in another encoding."""


def broken(name: str, path: str, error: Exception) -> UnavailableError:
    """What to say of a file that cannot be read."""
    cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "utf-8" in cause.lower().replace("utf8", "utf-8"):
        return UnavailableError(f"{name}: {path} is not UTF-8 ({cause}); {ENCODED}")
    if isinstance(error, PermissionError) or "permission denied" in cause.lower():
        words = f"{name}: {path} cannot be read ({without_secrets(cause)}); may this user read it?"
        return UnavailableError(f"{words} No window is handled before it can be")
    return UnavailableError(
        f"{name}: {path} cannot be read ({without_secrets(cause)}): half written, or damaged? No window is handled "
        "before it can be; write elsewhere and move the whole file here, or take it away"
    )


Found = TypeVar("Found")

READINGS = 3
"""Times that a log is read which is rewritten or compacted meanwhile."""


def steadily(rows: Rows, read: Callable[[], Found]) -> Found:
    """What ``read`` makes of a log that stood still while it was read; it is read anew where it did not.

    Raises
    ------
    UnavailableError
        It cannot be read, or never stood still.
    InputError
        As ``read`` raises it.
    """
    for _ in range(READINGS):
        try:
            content = read()
        except (PolarsError, OSError) as error:
            if not rows.moved(failed=True):
                if isinstance(error, UnavailableError):
                    raise
                raise broken(rows.name, rows.blame(), error) from error
        else:
            if not rows.moved(failed=False):
                return content
    raise UnavailableError(
        f"{rows.name} was rewritten each of {READINGS} times that it was read; no window is handled before it stands "
        "still: write new files, or move whole ones into place"
    )
