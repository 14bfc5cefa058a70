"""The head of the journal's chain, told to MLflow: so that nobody rewrites the journal by rewriting one database."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from selfheal.errors import SelfhealError
from selfheal.registry.versions import VersionInfo
from selfheal.steering.stand import Stand
from selfheal.steering.workspace import Workspace
from selfheal.table import Head
from selfheal.table.glance import Books

HEAD = "selfheal.journal"
"""Tag of the version that served: place and hash of the journal's newest entry then."""

SEALED = "sealed"
"""Mark of the head that MLflow was told last."""

_log = logging.getLogger("selfheal.loop")


def seal(ws: Workspace, name: str, stand: Stand | None = None, books: Books | None = None) -> None:
    """Tag the version that serves with the head, where it has changed since. MLflow being away is logged.

    Where MLflow was told of an entry that the journal does not have, nothing is written: the tag is the evidence.

    Parameters
    ----------
    stand, books
        Where the stages stand, and how the bookkeeping does, if that was read just now.
    """
    books = books or ws.table.glance.books(name)
    head = books.head
    pointer = ws.table.pointer(name) if stand is None else stand.pointer
    if head is None or pointer is None or books.marks.get(SEALED) == str(head):
        return
    try:
        versions = ws.registry.versions(name) if stand is None else list(stand.versions.values())
        sealed = list(heads(versions).values())
        wrong = disowned(ws.table.chain.hashes(name, [each.link for each in sealed]), sealed)
        if wrong:
            _log.error("%s: the journal was rewritten, or restored from a backup: %s", name, "; ".join(wrong))
            return
        ws.registry.set_tag(name, pointer.version, HEAD, str(head))
    except SelfhealError as error:
        _log.warning("%s: the head of the journal was not told to MLflow: %s", name, error)
        return
    ws.table.outbox.set_mark(name, SEALED, str(head))


def disowned(hashes: Mapping[int, str], sealed: Sequence[Head]) -> list[str]:
    """Heads that the journal does not have, in words.

    Parameters
    ----------
    hashes
        Place → hash, as the journal has them.
    """
    return [
        f"entry {head.link} of the journal has the hash {hashes.get(head.link, 'none')[:12]}, and MLflow was told "
        f"{head.hash[:12]} (tag {HEAD})"
        for head in sealed
        if hashes.get(head.link) != head.hash
    ]


def heads(versions: Sequence[VersionInfo]) -> dict[int, Head]:
    """Version → the head that MLflow was told while it served."""
    sealed = {}
    for info in versions:
        link, _, hashed = info.tags.get(HEAD, "").partition(" ")
        if link.isdigit():
            sealed[info.version] = Head(int(link), hashed)
    return sealed
