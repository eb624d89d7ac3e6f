"""The hooks behind the real HTTP server: what a client of another make sees on the socket."""

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from cheroot.wsgi import Server

from fhir_bridge.api.fhir_endpoints import hooks
from fhir_bridge.ports import Notification
from fhir_bridge.web.app import make_app

LIMIT = 1000
BEARER = {"Authorization": "Bearer word"}


@pytest.fixture
def kept() -> list[tuple[Notification, bytes]]:
    return []


@pytest.fixture
def address(kept: list[tuple[Notification, bytes]]) -> Iterator[tuple[str, int]]:
    app = make_app([hooks(lambda notification, body: kept.append((notification, body)), "word", LIMIT)])
    server = Server(("127.0.0.1", 0), app, numthreads=2)
    server.error_log = lambda *_, **__: None  # a broken connection is what one of these tests is about
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


def status_of(
    connection: http.client.HTTPConnection, body: object, headers: dict[str, str], **how: bool
) -> tuple[int, bytes]:
    connection.request("POST", "/hooks/fhir/orders", body, headers, **how)  # type: ignore[arg-type]
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_one_connection_carries_many_notifications(connection: http.client.HTTPConnection, kept: list[object]) -> None:
    answers = [status_of(connection, b"", BEARER) for _ in range(3)]
    assert (answers, len(kept)) == ([(204, b"")] * 3, 3)


def test_a_body_in_chunks_is_kept_whole(
    connection: http.client.HTTPConnection, kept: list[tuple[Notification, bytes]]
) -> None:
    answer = status_of(connection, iter([b'{"resourceType":', b'"Bundle"}']), BEARER, encode_chunked=True)
    assert (answer, kept[0][1]) == ((204, b""), b'{"resourceType":"Bundle"}')


def test_a_body_in_chunks_has_the_same_limit(connection: http.client.HTTPConnection, kept: list[object]) -> None:
    answer = status_of(connection, iter([b" " * 600, b" " * 600]), BEARER, encode_chunked=True)
    assert (answer, kept) == ((413, b""), [])


def test_a_declared_length_over_the_limit_is_refused_before_the_body_comes(
    address: tuple[str, int], kept: list[object]
) -> None:
    head = b"POST /hooks/fhir/orders HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer word\r\nContent-Length: 1000000000\r\n\r\n"
    with socket.create_connection(address, timeout=20) as raw:
        raw.sendall(head)
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")
    assert kept == []


def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one(address: tuple[str, int], kept: list[object]) -> None:
    head = b"POST /hooks/fhir/orders HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer word\r\nContent-Length: 26\r\n\r\n"
    with socket.create_connection(address, timeout=20) as raw:
        raw.sendall(head + b'{"resourceType"')
        raw.shutdown(socket.SHUT_WR)
        assert not raw.recv(100).startswith(b"HTTP/1.1 2")
    assert kept == []
