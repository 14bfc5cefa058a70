"""The short way of a request answers, refuses and logs as the long one does, in order, with one write for a group."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from selfheal.serving import create_app, protocol
from selfheal.serving.keys import Keys
from selfheal.serving.spill import read
from tests.serving.test_swap import until


def head(body: bytes, path: str = "/invocations", more: str = "") -> bytes:
    kind = "Content-Type: application/json\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{kind}{more}Content-Length: {len(body)}\r\n\r\n".encode()


def answers(link: socket.socket, count: int) -> list[tuple[int, dict]]:
    """So many answers, whatever they are."""
    found, got = [], b""
    while len(found) < count:
        while b"\r\n\r\n" not in got:
            got += link.recv(65536)
        first, _, got = got.partition(b"\r\n\r\n")
        length = int(first.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(got) < length:
            got += link.recv(65536)
        found.append((int(first.split()[1]), json.loads(got[:length])))
        got = got[length:]
    return found


def test_pipelined_requests_are_answered_in_order_and_alike_by_both_ways(place, serve_in_thread, forms):
    rows = place.model.reference.iloc[:3]
    good = json.dumps(forms.split(rows) | {"params": {"prediction_ids": ["a", "b", "c"]}}).encode()
    bad = json.dumps(forms.split(rows.assign(temp="warm"))).encode()
    one = json.dumps(forms.tensor(rows.iloc[:1])).encode()
    durable = json.dumps(forms.tensor(rows.iloc[1:2]) | {"params": {"durable": True}}).encode()
    sent = [head(good) + good, head(bad) + bad, head(good, "/invocations?format=rows") + good, head(one) + one]
    sent += [head(one, more="X-Log: durable\r\n") + one, head(durable) + durable, head(good) + good]
    with serve_in_thread(place.config()) as service, socket.create_connection(service.address, 20) as link:
        link.sendall(b"".join(sent))
        found = answers(link, len(sent))
        link.sendall(sent[0][:-40])  # half of a request, and the rest
        link.sendall(sent[0][-40:])
        assert answers(link, 1)[0] == found[0]
        text = service.get("/metrics")
    assert [status for status, _ in found] == [200, 400, 200, 200, 200, 200, 200]
    assert found[0] == found[2] == found[6]  # bit for bit, whatever the way
    assert found[3][1]["predictions"][0] == found[4][1]["predictions"][0]
    assert len(place.logged()) == 3 + 1 + 1 + 1
    assert 'path="/invocations",status="200"} 7' in text and 'path="/invocations",status="400"} 1' in text
    assert "selfheal_refused_rows_total" in text and 'reason="not a number",column="temp"} 3' in text


def test_a_key_is_asked_for(place, serve_in_thread, forms):
    body = json.dumps(forms.split(place.model.reference.iloc[:1])).encode()
    keys = Keys("score=may-score-1 read=may-read-22")
    with (
        serve_in_thread(place.config(keys=keys)) as service,
        socket.create_connection(service.address, 20) as link,
    ):
        given = ["", "X-API-Key: may-read-22\r\n", "X-API-Key: may-score-1\r\n"]
        link.sendall(b"".join(head(body, more=each) + body for each in given))
        assert [status for status, _ in answers(link, 3)] == [401, 403, 200]


class Client:
    """Who waits for an answer."""

    def __init__(self) -> None:
        self.gone, self.got = False, []

    def reply(self, body: bytes) -> None:
        self.got.append(json.loads(body))

    def go_on(self, body: bytes, at: float) -> None:
        self.got.append(body)


@pytest.mark.parametrize("room", [10**6, 0])
def test_a_group_is_taken_with_one_write_or_goes_the_long_way(place, forms, tmp_path, room):
    app = create_app(place.config(spill=tmp_path / "spill", queue_bytes=room, spill_bytes=room))
    bodies = [json.dumps(forms.split(place.model.reference.iloc[i : i + 1])).encode() for i in range(3)]
    clients = [Client() for _ in bodies]
    clients[1].gone = True
    try:

        async def turn() -> None:
            for body, client in zip(bodies, clients, strict=True):
                app.desk.put(app.scoring, {"path": "/invocations", "headers": []}, body, client)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        asyncio.run(turn())
        files = list((tmp_path / "spill").glob("*")) if room else []
        records = [record for path in files for record in read(path)]
    finally:
        app.close()
    if room:
        assert [len(rows) for _, rows in records] == [2]
        assert [client.got[0]["prediction_ids"][0] for client in clients[::2]] == [rows[0] for rows in records[0][1]]
    else:
        assert [client.got for client in clients[::2]] == [[bodies[0]], [bodies[2]]]
    assert clients[1].got == []
    assert app.log.state.dropped == 0


def is_closed(address) -> bool:
    try:
        socket.create_connection(address, 20).close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_has_begun_is_answered_when_the_service_ends(place, serve_app, forms, monkeypatch):
    """Half a request, and a connection that has not sent its first one yet; then both are closed."""
    body = json.dumps(forms.split(place.model.reference.iloc[:1])).encode()
    sent = head(body) + body
    monkeypatch.setattr(protocol, "ENDS_S", 20.0)
    with (
        serve_app(create_app(place.config()), "on") as service,
        socket.create_connection(service.address, 20) as half,
        socket.create_connection(service.address, 20) as new,
    ):
        half.sendall(sent[:-20])
        assert service.get("/ping") == "\n"  # both are known by now
        service.server.should_exit = True
        assert until(lambda: is_closed(service.address))
        half.sendall(sent[-20:])
        new.sendall(sent)
        for link in (half, new):
            assert answers(link, 1)[0][0] == 200
            assert link.recv(1) == b""
    assert len(place.logged()) == 2
