"""A Delta table of a log, read as one of its snapshots: files that are compacted meanwhile do not change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from polars.exceptions import PolarsError

from selfheal.errors import InputError, UnavailableError
from selfheal.log.places import DELTA, Place, without_secrets

if TYPE_CHECKING:
    from deltalake import DeltaTable


def snapshot(place: Place, name: str) -> tuple[pl.LazyFrame, int]:
    """The newest snapshot, lazily, and its version.

    Parameters
    ----------
    name
        What to call the log in a message.

    Raises
    ------
    InputError
        deltalake is not installed.
    UnavailableError
        The table cannot be opened, or needs a feature that is not read.
    """
    table = _opened(place, name)
    try:
        return pl.scan_delta(table, storage_options=place.options), table.version()
    except (PolarsError, OSError, NotImplementedError) as error:
        raise _unread(name, error) from None


def version(place: Place, name: str) -> int:
    """The version of the newest snapshot; raises as :func:`snapshot` does."""
    return _opened(place, name).version()


def _opened(place: Place, name: str) -> DeltaTable:
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError:
        raise InputError(
            f"{name} is a Delta table, and deltalake is not installed here; install selfheal[delta]"
        ) from None
    try:
        return DeltaTable(place.uri, storage_options=place.options)
    except (DeltaError, OSError) as error:
        raise _unread(name, error) from None


def _unread(name: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"{name} is a Delta table that cannot be opened: {without_secrets(str(error).strip())}; is its {DELTA} whole, "
        "may it be read, and does it need a feature that is not read, such as deletion vectors?"
    )
