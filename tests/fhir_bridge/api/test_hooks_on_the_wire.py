"""The hooks behind the real HTTP server: what a client of another make sees on the socket."""

import gzip
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from cheroot.wsgi import Server

from fhir_bridge.api.fhir_endpoints import hooks
from fhir_bridge.hook_intake import HookCall
from fhir_bridge.web.app import make_app

LIMIT = 1000
BEARER = {"Authorization": "Bearer word"}
HEAD = b"POST /hooks/fhir/orders HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer word\r\n"
TASK = b'{"resourceType":"Task","id":"1"}'


@pytest.fixture
def kept() -> list[HookCall]:
    return []


@pytest.fixture
def address(kept: list[HookCall]) -> Iterator[tuple[str, int]]:
    app = make_app([hooks(kept.append, "word", LIMIT)])
    server = Server(("127.0.0.1", 0), app, numthreads=2, timeout=0.5)
    server.error_log = lambda *_, **__: None  # broken connections are what some of these tests are about
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    host, port = server.bind_addr[:2]
    yield host, port
    server.stop()
    thread.join()


@pytest.fixture
def connection(address: tuple[str, int]) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(*address, timeout=20)
    yield connection
    connection.close()


@pytest.fixture
def raw(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=20) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield raw


def status_of(
    connection: http.client.HTTPConnection, body: object, headers: dict[str, str], **how: bool
) -> tuple[int, bytes]:
    connection.request("POST", "/hooks/fhir/orders", body, headers, **how)  # type: ignore[arg-type]
    answer = connection.getresponse()
    return answer.status, answer.read()


def everything(raw: socket.socket) -> bytes:
    """Until the server closes."""
    found = b""
    while piece := raw.recv(4096):
        found += piece
    return found


def test_one_connection_carries_many_notifications(
    connection: http.client.HTTPConnection, kept: list[HookCall]
) -> None:
    answers = [status_of(connection, b"", BEARER) for _ in range(3)]
    assert (answers, len(kept)) == ([(204, b"")] * 3, 3)


def test_an_answer_has_neither_length_nor_type(raw: socket.socket) -> None:
    raw.sendall(HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
    head = everything(raw).lower()
    assert (head.startswith(b"http/1.1 204 "), head.endswith(b"\r\n\r\n")) == (True, True)
    assert not [
        line for line in head.split(b"\r\n") if line.startswith((b"content-length", b"content-type", b"transfer-"))
    ]


def test_a_body_in_chunks_is_kept_whole(connection: http.client.HTTPConnection, kept: list[HookCall]) -> None:
    answer = status_of(connection, iter([b'{"resourceType":', b'"Bundle"}']), BEARER, encode_chunked=True)
    assert (answer, kept[0].body) == ((204, b""), b'{"resourceType":"Bundle"}')


def test_a_body_in_chunks_has_the_same_limit(connection: http.client.HTTPConnection, kept: list[HookCall]) -> None:
    answer = status_of(connection, iter([b" " * 600, b" " * 600]), BEARER, encode_chunked=True)
    assert (answer, kept) == ((413, b""), [])


def test_a_compressed_body_in_chunks_is_inflated(connection: http.client.HTTPConnection, kept: list[HookCall]) -> None:
    body = gzip.compress(TASK)
    headers = BEARER | {"Content-Encoding": "gzip"}
    answer = status_of(connection, iter([body[:7], body[7:]]), headers, encode_chunked=True)
    assert (answer, kept[0].body) == ((204, b""), TASK)


def test_a_declared_length_over_the_limit_is_refused_before_the_body_comes(
    raw: socket.socket, kept: list[HookCall]
) -> None:
    raw.sendall(HEAD + b"Content-Length: 1000000000\r\n\r\n")
    assert raw.recv(100).startswith(b"HTTP/1.1 413 ")
    assert kept == []


@pytest.mark.parametrize("authorization", [b"Bearer wrong", b"Basic word"])
def test_a_stranger_is_not_read_beyond_the_limit_either(
    address: tuple[str, int], authorization: bytes, kept: list[HookCall]
) -> None:
    head = HEAD.replace(b"Bearer word", authorization)
    with socket.create_connection(address, timeout=20) as raw:
        raw.sendall(head + b"Content-Length: 1000000000\r\n\r\n")
        assert everything(raw).startswith(b"HTTP/1.1 413 ")
    assert kept == []


def test_the_body_of_a_stranger_is_not_taken_for_the_next_request(
    connection: http.client.HTTPConnection, kept: list[HookCall]
) -> None:
    smuggled = HEAD + b"Content-Length: 0\r\n\r\n"
    first = status_of(connection, iter([smuggled]), {"Authorization": "Bearer wrong"}, encode_chunked=True)
    second = status_of(connection, TASK, BEARER)
    assert (first, second, [call.body for call in kept]) == ((401, b""), (204, b""), [TASK])


def test_a_body_that_comes_byte_by_byte_is_kept_whole(raw: socket.socket, kept: list[HookCall]) -> None:
    raw.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(TASK))
    for place in range(len(TASK)):
        raw.sendall(TASK[place : place + 1])
    assert raw.recv(100).startswith(b"HTTP/1.1 204 ")
    assert [call.body for call in kept] == [TASK]


def test_a_body_that_waits_for_our_permission_gets_it(raw: socket.socket, kept: list[HookCall]) -> None:
    raw.sendall(HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(TASK))
    assert raw.recv(25).startswith(b"HTTP/1.1 100 Continue")
    raw.sendall(TASK)
    assert b"HTTP/1.1 204 " in everything(raw)
    assert [call.body for call in kept] == [TASK]


CUT_OFF = {
    "a body of a declared length": b"Content-Length: 32\r\n\r\n" + TASK[:10],
    "the size of a chunk": b"Transfer-Encoding: chunked\r\n\r\n2",
    "a chunk": b"Transfer-Encoding: chunked\r\n\r\n20\r\n" + TASK[:10],
    "chunks without the last": b"Transfer-Encoding: chunked\r\n\r\n20\r\n" + TASK + b"\r\n",
}


@pytest.mark.parametrize("rest", CUT_OFF.values(), ids=CUT_OFF.keys())
@pytest.mark.parametrize("closes", [True, False], ids=["closed", "silent"])
def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one(
    raw: socket.socket, kept: list[HookCall], rest: bytes, closes: bool
) -> None:
    raw.sendall(HEAD + rest)
    if closes:
        raw.shutdown(socket.SHUT_WR)
    assert not everything(raw).startswith(b"HTTP/1.1 2")
    assert kept == []


def test_the_next_call_is_served_after_one_that_broke_off(
    raw: socket.socket, connection: http.client.HTTPConnection, kept: list[HookCall]
) -> None:
    raw.sendall(HEAD + b"Content-Length: 32\r\n\r\n{")
    raw.close()
    assert status_of(connection, TASK, BEARER) == (204, b"")
    assert [call.body for call in kept] == [TASK]


def test_any_other_method_is_405(connection: http.client.HTTPConnection) -> None:
    connection.request("HEAD", "/hooks/fhir/orders", headers=BEARER)
    assert connection.getresponse().status == 405
