"""HTTP as the service speaks it: uvicorn's own, but a request that is never finished is not waited for for ever."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from selfheal.serving.http import WHOLE_AT, error_body

HEADER_BYTES = 64 * 2**10
"""Largest request line and headers together; other servers take 8 to 64 KiB."""

SEND_S = 30.0
"""Seconds that a client may take to send one request, headers and body; the largest body needs 1 MiB a second."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bound on headers (431) and on the time that a request may take to arrive (408)."""

    _head: int | None = 0
    """Bytes of the request that is being read, while its headers are not complete."""
    _due: float | None = None
    """When the request that is being read must be complete; None between requests."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._due = self.loop.time() + SEND_S
        self.loop.call_at(self._due, self._look)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the headers are too long already."""
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > HEADER_BYTES and not self.transport.is_closing():
            self._refuse(431, b"Request Header Fields Too Large", f"the headers are larger than {HEADER_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A request begins, and its time."""
        super().on_message_begin()
        self._due = self.loop.time() + SEND_S

    def on_headers_complete(self) -> None:
        """What follows is the body, which has a limit of its own."""
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The whole request is there, and waits for its turn from now on."""
        self._head, self._due = 0, None
        self.scope[WHOLE_AT] = time.monotonic()  # type: ignore[literal-required]
        super().on_message_complete()

    def _look(self) -> None:
        """One timer a connection, which costs a request nothing."""
        now = self.loop.time()
        if self.transport.is_closing():
            return
        if self._due is not None and now >= self._due:
            self._refuse(408, b"Request Timeout", f"the request was not complete after {SEND_S:g} s")
            return
        self.loop.call_at(self._due or now + SEND_S, self._look)

    def _refuse(self, status: int, phrase: bytes, words: str) -> None:
        body = msgspec.json.encode(error_body("BAD_REQUEST", words))
        lines = (b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close")
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n\r\n%s" % (status, phrase, b"\r\n".join(lines), body))
        self.transport.close()
