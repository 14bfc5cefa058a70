"""Who may ask: keys, each known by its digest alone, and what each may do."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path

from selfheal.errors import InputError, RefusedError
from selfheal.serving.http import Message, StatusError, header

SCOPES = ("score", "feedback", "read")
SHORTEST = 8
"""Fewest characters of a key that is written down as it is: fewer could be found by trying."""
LOOK_S = 1.0
"""Seconds between two looks at the file of keys: so soon a key that was taken out of it is refused."""

_ENTRY = re.compile(rf"(?:(?P<scopes>(?:{'|'.join(SCOPES)})(?:\+(?:{'|'.join(SCOPES)}))*)=)?(?P<key>\S+)")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_HOW = (
    "write `sha256:` and what `printf %s KEY | sha256sum` says, before it what the key may do, as in "
    "score+feedback=sha256:…; without that it may do everything"
)
_log = logging.getLogger("selfheal.serving")

Known = tuple[tuple[bytes, frozenset[str]], ...]


class Keys:
    """The keys of one service.

    Parameters
    ----------
    text
        Keys with a space, a comma or a line between them, or ``@`` and the path of a file that holds them; the file is
        read again when it changes, and must hold digests.

    Raises
    ------
    InputError
        An entry can't be read, or the file.
    """

    def __init__(self, text: str) -> None:
        self._path = Path(text[1:]) if text.startswith("@") else None
        self._stamp = self._now()
        self._due = time.monotonic() + LOOK_S
        self._known = _known(text) if self._path is None else self._of_file(self._path)

    def admit(self, scope: Message, wanted: str) -> str:
        """Let a request pass, or not.

        Returns
        -------
        str
            Which key it was, in a form that may be logged.

        Raises
        ------
        StatusError
            401: no key, or none that is known; 403: it may not do what is ``wanted``.
        """
        self._look()
        key = _of_request(scope)
        digest = hashlib.sha256(key).digest()
        may: frozenset[str] | None = None
        for known, scopes in self._known:  # all of them: how long it takes says nothing about which
            if hmac.compare_digest(known, digest):
                may = scopes
        if may is None or not key:
            words = "this key is not known" if key else "a key is asked for"
            raise StatusError(
                401, f"{words}; send `Authorization: Bearer KEY`, or `X-API-Key: KEY`", (b"www-authenticate", b"Bearer")
            )
        if wanted and wanted not in may:
            raise StatusError(403, f"this key may {' and '.join(sorted(may))}, and not {wanted}; ask for another")
        return digest.hex()[:8]

    def _look(self) -> None:
        if self._path is None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LOOK_S
        stamp = self._now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._known = self._of_file(self._path)
        except InputError as error:
            _log.error("the keys that were known stay: %s", error)

    def _now(self) -> tuple[int, ...]:
        """What changes when the file does."""
        try:
            stat = None if self._path is None else self._path.stat()
        except OSError:
            return ()
        return () if stat is None else (stat.st_mtime_ns, stat.st_size, stat.st_ino)

    def _of_file(self, path: Path) -> Known:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the keys in {path} cannot be read: {error}") from error
        text = "\n".join(line.partition("#")[0] for line in lines)
        return _known(text, f"{path}: ", hashed=True)


def keys_for(host: str, environ: Mapping[str, str]) -> Keys | None:
    """The keys that a service on ``host`` asks for; None: everybody may ask.

    Raises
    ------
    InputError
        ``SELFHEAL_API_KEYS`` or ``SELFHEAL_AUTH`` can't be read.
    RefusedError
        Other machines could ask, and there are no keys.
    """
    auth, text = environ.get("SELFHEAL_AUTH", ""), environ.get("SELFHEAL_API_KEYS", "").strip()
    if auth not in ("", "on", "off"):
        raise InputError(f"SELFHEAL_AUTH is {auth!r}; write off, or leave it away")
    if auth == "off":
        return None
    if text:
        return Keys(text)
    if auth == "on" or not is_loopback(host):
        raise RefusedError(
            f"{host} may be reached from other machines, and no keys are set; set SELFHEAL_API_KEYS, or "
            "SELFHEAL_AUTH=off where something in front of it asks who it is"
        )
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an interface."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _known(text: str, where: str = "SELFHEAL_API_KEYS: ", *, hashed: bool = False) -> Known:
    entries = text.replace(",", " ").split()
    if not entries:
        raise InputError(f"{where}there is no key; {_HOW}")
    return tuple(_entry(entry, f"{where}key {place}", hashed) for place, entry in enumerate(entries, 1))


def _entry(entry: str, where: str, hashed: bool) -> tuple[bytes, frozenset[str]]:
    """One key; messages never quote it."""
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise InputError(f"{where} cannot be read; {_HOW}")
    scopes = frozenset((match["scopes"] or "+".join(SCOPES)).split("+"))
    digest = _DIGEST.fullmatch(match["key"])
    if digest is not None:
        return bytes.fromhex(digest[1]), scopes
    if hashed or match["key"].startswith("sha256:"):
        raise InputError(f"{where} is no digest, and keys are not kept as they are; {_HOW}")
    if len(match["key"]) < SHORTEST:
        raise InputError(
            f"{where} has {len(match['key'])} characters, fewer than {SHORTEST}; make one by "
            '`python -c "import secrets; print(secrets.token_urlsafe())"`'
        )
    return hashlib.sha256(match["key"].encode()).digest(), scopes


def _of_request(scope: Message) -> bytes:
    kind, _, key = header(scope, b"authorization").partition(b" ")
    return key.strip() if kind.lower() == b"bearer" else header(scope, b"x-api-key").strip()
