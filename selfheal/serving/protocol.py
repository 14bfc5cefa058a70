"""HTTP as the service speaks it: uvicorn's own, with bounds, and a short way for what most requests are.

A request that is never finished is not waited for for ever. One that :mod:`selfheal.serving.desk` takes makes no task
and no timer: it costs a third of what uvicorn's own way does.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from selfheal.serving.desk import Desk
from selfheal.serving.http import WHOLE_AT, Message, error_body
from selfheal.serving.scoring import Scoring

HEADER_BYTES = 64 * 2**10
"""Largest request line and headers together; other servers take 8 to 64 KiB. It also bounds what comes with a body in
chunks and is none of it: words beside a chunk's size, headers after the last one."""

SEND_S = 30.0
"""Seconds that a client may take to send one request, headers and body; the largest body needs 1 MiB a second."""

ENDS_S = 0.5
"""How long a new connection may still send its request when the service ends."""

_PLAIN = (b"content-type", b"application/json")
_ODD = frozenset((b"content-type", b"expect", b"transfer-encoding", b"upgrade", b"x-log"))
"""Headers with which a request goes uvicorn's way; a content type that is JSON's is none."""


class Crowded(Protocol):
    """An application that takes so many connections, and not more."""

    def crowded(self) -> None:
        """One more was refused."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on connections (503), headers (431) and how long a request may come (408)."""

    _head = 0
    """Bytes of the request that is being read, since it began or its body went on."""
    _due: float | None = None
    """When the request that is being read must be complete; None between requests."""

    _scoring: Scoring | None = None
    """What will score the request that is being read, if the desk takes it."""
    _waits = False
    """Whether a request of this connection waits at the desk."""
    _fresh = True
    """Whether no request has come on this connection yet."""
    _ends = False
    """Whether the service ends, and the connection with its next answer."""
    _idle: float | None = None
    """Since when a connection that the desk answered last has been idle."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._body = b""
        self._desk: Desk | None = getattr(self.app, "desk", None)
        most = getattr(self.app, "connections", None)
        if most is not None and len(self.connections) > most:
            cast(Crowded, self.app).crowded()
            self._refuse(503, b"Service Unavailable", f"{most} connections are open, and no more are taken; try again")
            return
        self._due = self.loop.time() + SEND_S
        self.loop.call_later(min(self.timeout_keep_alive, SEND_S), self._look)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the headers are too long already."""
        self._head += len(data)
        super().data_received(data)
        if self._head > HEADER_BYTES and not self.transport.is_closing():
            self._refuse(431, b"Request Header Fields Too Large", f"the headers are larger than {HEADER_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A request begins, and its time."""
        if self._waits and self._desk is not None:
            self._desk.flush()  # answers come in the order of the requests
        super().on_message_begin()
        self._due, self._idle = self.loop.time() + SEND_S, None

    def on_headers_complete(self) -> None:
        """What follows is the body, which has a limit of its own."""
        self._head, self._fresh = 0, False
        self._scoring = self._taken()
        if self._scoring is None:
            super().on_headers_complete()
            self.cycle.keep_alive &= not self._ends

    def on_body(self, body: bytes) -> None:
        """A part of the body, or all of it."""
        self._head = 0
        if self._scoring is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """The whole request is there, and waits for its turn from now on."""
        self._head, self._due = 0, None
        if self._scoring is None or self._desk is None:
            self.scope[WHOLE_AT] = time.monotonic()  # type: ignore[literal-required]
            super().on_message_complete()
            return
        self._waits = True
        self._desk.put(self._scoring, cast(Message, self.scope), self._body, self)
        self._scoring, self._body = None, b""

    def _taken(self) -> Scoring | None:
        """What scores this request at the desk; None where uvicorn's own way is its way."""
        if (
            self._desk is None
            or self._ends
            or self.flow.write_paused
            or not (self.cycle is None or self.cycle.response_complete)
        ):
            return None
        length = 0
        for header in self.headers:
            name, value = header
            if name == b"content-length":
                length = int(value)
            elif name in _ODD and header != _PLAIN:
                return None
        scoring = self._desk.takes(self.url, length)
        if scoring is None or self.parser.get_method() != b"POST" or not self.parser.should_keep_alive():
            return None
        return scoring if length and self.parser.get_http_version() == "1.1" else None

    @property
    def gone(self) -> bool:
        """Whether the client went away."""
        return self.transport.is_closing() or self.parser is None

    def reply(self, body: bytes) -> None:
        """Send 200 with a JSON body."""
        self._waits = False
        head = [b"HTTP/1.1 200 OK\r\n"]
        for name, value in self.server_state.default_headers:
            head += (name, b": ", value, b"\r\n")
        head.append(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        head.append(body)
        self.transport.write(b"".join(head))
        self.server_state.total_requests += 1
        self._idle = self.loop.time()

    def go_on(self, body: bytes, at: float) -> None:
        """Go uvicorn's own way with a request that was whole at the monotonic time ``at``."""
        self._waits = False
        super().on_headers_complete()
        self.scope[WHOLE_AT] = at  # type: ignore[literal-required]
        super().on_body(body)
        super().on_message_complete()

    def shutdown(self) -> None:
        """The service ends: what has begun is answered."""
        if self._waits and self._desk is not None:
            self._desk.flush()
        if self._scoring is not None:
            self._scoring = None
            super().on_headers_complete()
            super().on_body(self._body)
            self._body = b""
        if self._fresh and not self._ends:  # who has just connected has a request on its way, and knows of no other
            self._ends = True
            self.loop.call_later(ENDS_S, self.shutdown)
            return
        super().shutdown()

    def _look(self) -> None:
        """One timer a connection, which costs a request nothing."""
        now = self.loop.time()
        if self.transport.is_closing():
            return
        if self._due is not None and now >= self._due:
            self._refuse(408, b"Request Timeout", f"the request was not complete after {SEND_S:g} s")
            return
        if self._idle is not None and now - self._idle >= self.timeout_keep_alive:
            self.transport.close()
            return
        soon = now + min(self.timeout_keep_alive, SEND_S)
        self.loop.call_at(soon if self._due is None else min(soon, self._due), self._look)

    def _refuse(self, status: int, phrase: bytes, words: str) -> None:
        code = "TEMPORARILY_UNAVAILABLE" if status == 503 else "BAD_REQUEST"
        body = msgspec.json.encode(error_body(code, words))
        lines = (b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close")
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n\r\n%s" % (status, phrase, b"\r\n".join(lines), body))
        self.transport.close()
