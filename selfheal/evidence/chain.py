"""The journal's chain as lines of JSON. Pure.

A line is an entry whole, its records as the texts that were stored; or, where rows of people are left out, its digest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from selfheal.errors import InputError
from selfheal.loop.sealed import disowned
from selfheal.loop.trial import AUDIT
from selfheal.table import Head, Link
from selfheal.table.chain import broken, digest_of

HOLD_ROWS = frozenset({AUDIT})
"""Kinds of entries that hold rows of the log."""


def written(links: Sequence[Link], *, rows: bool) -> bytes:
    """A line for each link, oldest first."""
    return "".join(f"{json.dumps(_line(link, rows), ensure_ascii=False)}\n" for link in links).encode()


def _line(link: Link, rows: bool) -> dict[str, object]:
    if not rows and link.kind in HOLD_ROWS:
        return {"link": link.link, "kind": link.kind, "digest": link.digest, "hash": link.hash}
    return {**vars(link), "acts": list(link.acts)}


def read(data: bytes, *, rows: bool) -> list[tuple[int, str, str]]:
    """Place, digest and hash of each line.

    Parameters
    ----------
    rows
        Whether every entry must be whole; else the content may be missing, and only then is a digest believed.

    Raises
    ------
    InputError
        A line is none.
    """
    return [_read(number, text, rows) for number, text in enumerate(data.split(b"\n"), 1) if text]


def _read(number: int, text: bytes, rows: bool) -> tuple[int, str, str]:
    try:
        line = json.loads(text)
        digest = str(line["digest"]) if "intent" not in line and not rows else _digest(line)
        return int(line["link"]), digest, str(line["hash"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"line {number} of the journal can't be read: {type(error).__name__} {error}") from error


def _digest(line: dict[str, object]) -> str:
    names = ("id", "model", "kind", "at", "intent", "acts", "outcome")
    return digest_of(*(line[name] for name in names))  # type: ignore[arg-type]  # whatever it is, it is hashed


def faults(links: Sequence[tuple[int, str, str]], heads: Sequence[Head]) -> list[str]:
    """What is wrong with a chain, and which heads are not its own."""
    hashes = {link: hashed for link, _, hashed in links}
    return [text for text in (broken(links), *disowned(hashes, heads)) if text]
