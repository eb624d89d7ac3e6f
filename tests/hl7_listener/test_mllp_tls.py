"""TLS and mTLS of a listener, and certificates that change under it (item 7)."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from hl7_listener.client import MllpClient, NoAcknowledgement
from hl7_listener.server import MllpServer
from hl7_listener.tls import CertificateRefused, RenewedContext, client_context, server_context
from tests.support.certificates import Authority, serial_number, serial_number_of
from tests.support.mllp_acceptors import ReadyAcceptor
from tests.support.mllp_peer import TIMEOUT_SECONDS, RawPeer, answers, block, msa, order, wait_until

Address = tuple[str, int]
Start = Callable[..., tuple[MllpServer, Address]]
Contexts = tuple[RenewedContext, RenewedContext]
A, B = order("A"), order("B")


def secured(address: Address, context: ssl.SSLContext) -> RawPeer:
    peer = RawPeer(address)
    peer.socket = context.wrap_socket(peer.socket, server_hostname="localhost")
    return peer


def serial_number_shown(peer: RawPeer) -> int:
    assert isinstance(peer.socket, ssl.SSLSocket)
    shown = peer.socket.getpeercert(binary_form=True)
    assert shown is not None
    return serial_number(shown)


def is_answered(address: Address, context: ssl.SSLContext) -> bool:
    """Under TLS 1.3 a client learns with its first read that its certificate was not taken: an error, or the end."""
    try:
        with secured(address, context) as peer:
            peer.send(block(A))
            return peer.socket.recv(65536).startswith(b"\x0bMSH")
    except OSError:
        return False


def test_messages_travel_under_tls(start: Start, tls: Contexts) -> None:
    ours, theirs = tls
    _, address = start(ReadyAcceptor(), tls=ours)

    with secured(address, theirs.current()) as peer:
        peer.send(block(A) + block(B))
        assert [msa(peer.answer()), msa(peer.answer())] == [("AA", "A"), ("AA", "B")]


def test_a_message_of_ten_megabytes_travels_under_tls(start: Start, tls: Contexts) -> None:
    ours, theirs = tls
    acceptor = ReadyAcceptor()
    _, address = start(acceptor, tls=ours, max_message_mebibytes=20)
    message = order("A", name=b"x" * 10_000_000)

    with secured(address, theirs.current()) as peer:
        peer.send(block(message))
        assert msa(peer.answer()) == ("AA", "A")
    assert acceptor.received[0].payload == message


def test_tls_below_1_2_is_refused(start: Start, tls: Contexts) -> None:
    _, address = start(ReadyAcceptor(), tls=tls[0])
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1

    with pytest.raises(ssl.SSLError):
        secured(address, old)


def test_a_peer_with_a_certificate_of_the_authority_is_answered(start: Start, authority: Authority) -> None:
    """Item 7: mTLS."""
    ours = RenewedContext(server_context, *authority.sign("localhost"), authority.ca_file)
    _, address = start(ReadyAcceptor(), tls=ours)

    assert is_answered(address, client_context(authority.ca_file, *authority.sign("ris")))


def test_a_peer_without_a_certificate_is_not_answered(start: Start, authority: Authority) -> None:
    ours = RenewedContext(server_context, *authority.sign("localhost"), authority.ca_file)
    server, address = start(ReadyAcceptor(), tls=ours)

    assert not is_answered(address, client_context(authority.ca_file))
    wait_until(lambda: server.statistics()["closed"] == {"tls-handshake": 1})
    assert server.statistics()["messages"] == 0


def test_a_certificate_of_another_authority_is_not_enough(start: Start, authority: Authority, tmp_path: Path) -> None:
    ours = RenewedContext(server_context, *authority.sign("localhost"), authority.ca_file)
    server, address = start(ReadyAcceptor(), tls=ours)
    stranger = Authority(tmp_path / "elsewhere", "stranger")

    assert not is_answered(address, client_context(authority.ca_file, *stranger.sign("ris")))
    assert server.statistics()["messages"] == 0


def test_a_renewed_certificate_is_shown_to_the_next_peer_and_the_old_connection_lives_on(
    start: Start, authority: Authority
) -> None:
    """Item 7: no restart for a new certificate."""
    certificate, key = authority.sign("localhost")
    first = serial_number_of(certificate)
    server, address = start(ReadyAcceptor(), tls=RenewedContext(server_context, certificate, key))
    theirs = client_context(authority.ca_file)

    with secured(address, theirs) as old:
        authority.sign("localhost")
        with secured(address, theirs) as new:
            assert (serial_number_shown(old), serial_number_shown(new)) == (first, serial_number_of(certificate))
            for peer in (old, new):
                peer.send(block(A))
                assert msa(peer.answer()) == ("AA", "A")
    assert server.statistics()["certificate_renewals"] >= 1
    assert serial_number_of(certificate) != first


@pytest.mark.parametrize("content", [b"", b"no certificate", None], ids=["empty", "text", "missing"])
def test_a_broken_new_certificate_leaves_the_old_one_in_force(
    start: Start, authority: Authority, content: bytes | None
) -> None:
    certificate, key = authority.sign("localhost")
    server, address = start(ReadyAcceptor(), tls=RenewedContext(server_context, certificate, key))

    certificate.unlink()
    if content is not None:
        certificate.write_bytes(content)

    assert is_answered(address, client_context(authority.ca_file))
    assert server.statistics()["certificate_failures"] >= 1


def test_a_certificate_that_is_written_before_its_key_is_taken_once_both_are_there(authority: Authority) -> None:
    certificate, key = authority.sign("localhost")
    context = RenewedContext(server_context, certificate, key)
    before = context.current()
    old_key = key.read_bytes()
    authority.sign("localhost")
    new_key = key.read_bytes()

    key.write_bytes(old_key)
    half = context.current()
    key.write_bytes(new_key)
    whole = context.current()

    assert (half is before, whole is before) == (True, False)
    assert (context.failures, context.renewals) == (1, 1)


def test_files_that_did_not_change_are_not_read_again(authority: Authority) -> None:
    context = RenewedContext(server_context, *authority.sign("localhost"))

    assert context.current() is context.current()
    assert context.renewals == 0


def test_an_authority_that_is_taken_out_of_the_file_is_trusted_no_more(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    former = Authority(tmp_path / "former", "former")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.ca_file.read_bytes() + former.ca_file.read_bytes())
    _, address = start(ReadyAcceptor(), tls=RenewedContext(server_context, *authority.sign("localhost"), trusted))
    theirs = client_context(authority.ca_file, *former.sign("ris"))
    assert is_answered(address, theirs)

    trusted.write_bytes(authority.ca_file.read_bytes())

    assert not is_answered(address, theirs)


@pytest.mark.parametrize("file", ["missing.pem", "text.pem"])
def test_files_that_cannot_be_used_at_all_are_an_error_with_their_names(tmp_path: Path, file: str) -> None:
    (tmp_path / "text.pem").write_text("CANARY")

    with pytest.raises(CertificateRefused) as caught:
        RenewedContext(server_context, tmp_path / file)

    assert (caught.value.code, caught.value.where) == ("mllp.certificate-unusable", str(tmp_path / file))


def test_a_key_under_a_passphrase_is_an_error_and_not_a_question_on_the_terminal(authority: Authority) -> None:
    with pytest.raises(CertificateRefused):
        RenewedContext(server_context, *authority.sign("localhost", passphrase=b"open sesame"))


def test_plaintext_at_a_tls_port_harms_nobody(start: Start, tls: Contexts) -> None:
    ours, theirs = tls
    server, address = start(ReadyAcceptor(), tls=ours)

    with RawPeer(address) as plain:
        plain.send(block(A))
        plain.rest()
    assert is_answered(address, theirs.current())
    assert (server.statistics()["messages"], server.statistics()["closed"]) == (1, {"tls-handshake": 1})


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02\x00"], ids=["silence", "half a hello"])
def test_a_handshake_that_does_not_end_is_given_up(start: Start, tls: Contexts, data: bytes) -> None:
    """Item 6: a half-open peer under TLS."""
    server, address = start(ReadyAcceptor(), tls=tls[0], handshake_timeout_seconds=0.1)

    with RawPeer(address) as peer:
        peer.send(data)
        assert peer.rest() == b""
    wait_until(lambda: server.statistics()["closed"] == {"tls-handshake": 1})


def test_a_handshake_under_way_counts_as_a_connection(start: Start, tls: Contexts) -> None:
    server, address = start(ReadyAcceptor(), tls=tls[0], max_connections=1)

    with RawPeer(address), RawPeer(address) as second:
        assert second.rest() == b""
    assert server.statistics()["connections_refused"] == {"too-many-connections": 1}


def test_stopping_does_not_wait_for_a_handshake(start: Start, tls: Contexts) -> None:
    server, address = start(ReadyAcceptor(), tls=tls[0])

    with RawPeer(address) as peer:
        wait_until(lambda: server.statistics()["connections_accepted"] == 1)
        assert server.drain(TIMEOUT_SECONDS)
        server.stop()
        assert peer.rest() == b""


def test_a_peer_that_vanishes_under_tls_leaves_nothing_behind(start: Start, tls: Contexts) -> None:
    """Half a message, then the connection is reset without a farewell of TLS."""
    ours, theirs = tls
    server, address = start(ReadyAcceptor(), tls=ours)

    with secured(address, theirs.current()) as peer:
        peer.send(block(A)[:20])
        wait_until(lambda: server.statistics()["buffered_bytes"] > 0)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    wait_until(lambda: server.statistics()["connections"] == 0)
    assert server.statistics()["buffered_bytes"] == 0
    assert server.statistics()["discarded"] == {"unfinished-block": 19}


def test_draining_answers_under_tls_too(start: Start, tls: Contexts) -> None:
    ours, theirs = tls
    server, address = start(ReadyAcceptor(), tls=ours)

    with secured(address, theirs.current()) as peer:
        peer.send(block(A))
        wait_until(lambda: server.statistics()["messages"] == 1)
        assert server.drain(
            TIMEOUT_SECONDS
        )  # although this peer, which reads nothing now, does not confirm the end of TLS
        assert answers(peer.rest()) == [("AA", "A")]


def test_a_client_shows_its_renewed_certificate(start: Start, authority: Authority) -> None:
    ours = RenewedContext(server_context, *authority.sign("localhost"), authority.ca_file)
    _, (_, port) = start(ReadyAcceptor(), tls=ours)
    stranger = Authority(authority.ca_file.parent / "elsewhere", "stranger")
    certificate, key = stranger.sign("ris")
    theirs = RenewedContext(client_context, authority.ca_file, certificate, key)

    with MllpClient("localhost", port, TIMEOUT_SECONDS, theirs.current) as sender:
        with pytest.raises(NoAcknowledgement):
            sender.send(A)
        for old, new in zip((certificate, key), authority.sign("ris"), strict=True):
            old.write_bytes(new.read_bytes())

        assert sender.send(A).code == "AA"
