"""The little of HTTP that the service needs: a body up to a limit, and JSON answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import msgspec

from selfheal.errors import shown

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LINGER_S = 2.0
"""How long a refused upload is read on (and thrown away): closing at once would reset the connection, and the client,
still sending, would never see why."""

WHOLE_AT = "selfheal.whole_at"
"""Key of a request's scope: the monotonic time at which its last byte was there."""

KEY, ROWS = "selfheal.key", "selfheal.rows"
"""Keys of a request's scope: which API key it came with, as it may be logged, and how many rows were scored."""

OPEN = ""
"""The scope of routes that never ask for a key."""

_JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode


class Route(NamedTuple):
    """What answers a path: the method it takes, what a key must be good for, and the handler."""

    method: str
    scope: str
    handler: Callable[[Message, Receive, Send], Awaitable[int]]


class TooLargeError(Exception):
    """The body is larger than the limit; it was not kept."""


class StatusError(Exception):
    """A request is not answered, with this status and these words.

    Parameters
    ----------
    headers
        To send beside the usual ones.
    """

    def __init__(self, status: int, words: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(words)
        self.status, self.headers = status, headers


class TurnedAwayError(Exception):
    """There is more to compute than can be answered in time; nothing was done for this request."""


class GoneError(Exception):
    """The client went away before its request was complete."""


async def read_body(scope: Message, receive: Receive, limit: int) -> bytes | bytearray:
    """The whole body.

    Raises
    ------
    TooLargeError
        At once where the length is announced, else when the limit is passed.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > limit:
            raise TooLargeError
    message = await receive()
    if message["type"] == "http.disconnect":
        raise GoneError
    if not message.get("more_body"):
        whole: bytes = message.get("body", b"")
        return whole
    body = bytearray(message.get("body", b""))
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        body += message.get("body", b"")
        if len(body) > limit:
            raise TooLargeError
        if not message.get("more_body"):
            return body


def header(scope: Message, name: bytes) -> bytes:
    """A header's value, empty where it was not sent; ``name`` in small letters."""
    for key, value in scope["headers"]:
        if key == name:
            content: bytes = value
            return content
    return b""


def media_type(scope: Message) -> str:
    """What a body is said to be, in small letters and without parameters; JSON where nothing is said.

    Raises
    ------
    StatusError
        415: the text is not UTF-8.
    """
    given = header(scope, b"content-type")
    if given == b"application/json":
        return "application/json"
    kind, *parameters = given.decode("latin-1").lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(" \"'") not in ("utf-8", "utf8", "us-ascii"):
            raise StatusError(415, f"the charset {shown(value.strip())} is not read; send UTF-8")
    return kind.strip() or "application/json"


def is_json(kind: str) -> bool:
    """Whether a media type is JSON's, or built on it."""
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def error_body(code: str, words: str) -> dict[str, str]:
    """An error as MLflow's clients read it; ``error`` is what the release before sent, and goes with the next."""
    return {"error_code": code, "message": words, "error": words}


async def answer(send: Send, status: int, value: Any, *headers: tuple[bytes, bytes]) -> None:
    """Send a value as JSON."""
    body = _encode(value)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [_JSON, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def answer_text(send: Send, text: str, kind: bytes) -> None:
    """Send plain text."""
    body = text.encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", kind), (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def refuse_body(receive: Receive, send: Send, value: Any) -> None:
    """Answer 413 and close; what the client goes on sending is thrown away, for a bounded time."""
    body = _encode(value)
    headers = [_JSON, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})

    async def drain() -> None:
        while (await receive()).get("more_body"):
            pass

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(drain(), LINGER_S)
    await send({"type": "http.response.body", "body": b""})
