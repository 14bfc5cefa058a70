"""How connections are taken: with TLS or without, and how many."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from selfheal.errors import InputError

OTHERS = 100
"""Descriptors that are left for the database, local files and pages."""


@dataclass(frozen=True)
class Wire:
    """What a port is given.

    Attributes
    ----------
    cert, key
        Paths of a certificate chain and its private key, PEM; None: plain HTTP.
    connections
        The most that are open at once, of one process; None: as many as the process may have descriptors.
    """

    cert: str | None = None
    key: str | None = None
    connections: int | None = None

    @property
    def scheme(self) -> str:
        """Of a URL."""
        return "http" if self.cert is None else "https"

    @property
    def most(self) -> int | None:
        """The most connections at once; None where the system does not say what it allows."""
        return self.connections or _descriptors()

    def check(self) -> None:
        """Open what it names.

        Raises
        ------
        InputError
            Certificate and key are not both there, can't be read, or are none of each other.
        """
        if self.cert is None and self.key is None:
            return
        if self.cert is None or self.key is None:
            given, lacks = ("--tls-key", "--tls-cert") if self.cert is None else ("--tls-cert", "--tls-key")
            raise InputError(f"{given} without {lacks}; TLS needs the certificate and its key, PEM files both")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except ssl.SSLError as error:
            raise InputError(
                f"{self.cert} and {self.key} are no certificate and its key: {error.reason or error}; both are PEM "
                "files, and the key is of that certificate"
            ) from error
        except OSError as error:
            raise InputError(f"{self.cert} or {self.key} cannot be read: {error.strerror}") from error


def _no_password() -> str:
    raise InputError("the private key is encrypted, and nobody is there to be asked; give one without a password")


def _descriptors() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else max(soft - OTHERS, 16)
