"""What can go wrong, as one tree.

::

    SelfhealError
    ├── InputError (ValueError)            what was given is wrong       exit 2   HTTP 400
    │   └── PolicyError                    a policy file is wrong        exit 2   HTTP 400
    ├── NotFoundError (LookupError)        no such model or version      exit 2   HTTP 404
    ├── RefusedError                       asked, understood, declined   exit 1   HTTP 409
    │   └── HeldError                      allowed, but not now          exit 1   HTTP 409
    ├── BusyError                          somebody else holds it        exit 1   HTTP 409
    ├── ArtifactError                      a stored file is unsafe       exit 1   HTTP 500
    │   └── FormatError                    another release wrote it      exit 1   HTTP 500
    └── UnavailableError (ConnectionError) a store cannot be reached     exit 1   HTTP 503

A message says the value, the limit, the likely cause and the remedy.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import ClassVar

HINTED = 1_000
"""Names among which a near one is looked for: 30 ms; of more, none is suggested."""

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 80


class SelfhealError(Exception):
    """Base of every error that selfheal raises on purpose."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500


class InputError(SelfhealError, ValueError):
    """Rows, labels, names or options that were given are wrong.

    Attributes
    ----------
    reason, column
        What refused rows are counted by: the kind of fault, and the column that has it (empty for none).
    """

    exit_code = 2
    http_status = 400

    def __init__(self, message: str = "", *, reason: str = "malformed", column: str = "") -> None:
        super().__init__(message)
        self.reason, self.column = reason, column


class PolicyError(InputError):
    """A policy is unreadable or does not fit its model; names the file, the line and the nearest valid name."""


class NotFoundError(SelfhealError, LookupError):
    """No model, version or file of that name."""

    exit_code = 2
    http_status = 404


class RefusedError(SelfhealError):
    """The request is understood and declined: the message says on what evidence."""

    http_status = 409


class HeldError(RefusedError):
    """What the loop may do, but not now: it waits. The message reads on from "waits for"."""


class BusyError(SelfhealError):
    """Another process holds what is needed (a lease, a home directory)."""

    http_status = 409


class ArtifactError(SelfhealError):
    """A stored model file is not what was registered, or could run code; it was not opened."""


class FormatError(ArtifactError):
    """A stored file has a format that this release does not read; nothing is wrong with it and nothing was applied."""


class UnavailableError(SelfhealError, ConnectionError):
    """A store (MLflow, the database) cannot be reached; nothing was changed."""

    http_status = 503


def nearest(name: object, valid: Iterable[object]) -> str:
    """A hint that ends a message: ``"; did you mean 'amount'?"``, or nothing when no valid name is near.

    >>> nearest("amuont", ["amount", "v14"])
    "; did you mean 'amount'?"
    >>> nearest("zzz", ["amount"])
    ''
    """
    names = [str(v) for v in valid]
    # A name of more than 100 letters is near to none, and compared letter by letter all the same.
    near = len(names) <= HINTED and len(str(name)) <= 100
    matches = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6) if near else []
    return f"; did you mean {matches[0]!r}?" if matches else ""


def shown(value: object) -> str:
    """A value as a message shows it: ``repr`` cut to some 80 characters, however long the value.

    >>> shown("a" * 5_000_000)[:12], len(shown("a" * 5_000_000))
    ("'aaaaaaaaaaa", 80)
    """
    return _SHOWN.repr(value)


def printable(text: str, most: int) -> str:
    r"""Text from traffic, without anything that would steer a terminal, cut to ``most`` characters.

    >>> printable("a\x1b[2Jb", 5)
    'a?[2J'
    """
    return "".join(c if c.isprintable() else "?" for c in text)[:most]
