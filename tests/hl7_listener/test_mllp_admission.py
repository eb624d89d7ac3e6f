"""Who may connect to a listener, and how often (items 5, 6 and 7)."""

from collections.abc import Callable

import pytest

from hl7_listener.acknowledgement import Outcome
from hl7_listener.admission import Admission
from hl7_listener.server import ListenerPolicy, MllpServer
from tests.support.mllp_acceptors import HoldingAcceptor, ReadyAcceptor
from tests.support.mllp_peer import RawPeer, block, msa, order, wait_until

Start = Callable[..., tuple[MllpServer, tuple[str, int]]]
A, B = order("A"), order("B")


@pytest.mark.parametrize(
    ("allowed", "host", "refusal"),
    [
        ((), "203.0.113.9", ""),
        (("10.1.0.0/16",), "10.1.2.3", ""),
        (("10.1.0.0/16",), "10.2.2.3", "not-allowed"),
        (("10.1.2.3", "192.0.2.0/24"), "192.0.2.77", ""),
        (("10.1.2.3/16",), "10.1.200.1", ""),
        (("10.1.0.0/16",), "::ffff:10.1.2.3", ""),
        (("2001:db8::/32",), "2001:db8::5", ""),
        (("2001:db8::/32",), "10.1.2.3", "not-allowed"),
        (("fe80::/10",), "fe80::1%eth0", ""),
    ],
)
def test_a_peer_is_judged_by_the_networks_that_are_allowed(allowed: tuple[str, ...], host: str, refusal: str) -> None:
    """Item 7: the allow-list."""
    assert Admission(ListenerPolicy("orders", allowed_peers=allowed)).refusal(host, 0, 0) == refusal


def test_a_word_that_is_no_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="network"):
        ListenerPolicy("orders", allowed_peers=("ris.example",))


def test_a_peer_that_is_not_allowed_is_closed_and_counted(start: Start) -> None:
    """Item 7."""
    server, address = start(ReadyAcceptor(), allowed_peers=("192.0.2.0/24",))

    with RawPeer(address) as peer:
        assert peer.rest() == b""

    counts = server.statistics()
    assert (counts["connections_refused"], counts["connections_accepted"]) == ({"not-allowed": 1}, 0)
    assert counts["peers"]["127.0.0.1"]["connections_refused"] == {"not-allowed": 1}


def test_a_peer_that_is_allowed_is_answered(start: Start) -> None:
    _, address = start(ReadyAcceptor(), allowed_peers=("127.0.0.0/8",))

    with RawPeer(address) as peer:
        peer.send(block(A))
        assert msa(peer.answer()) == ("AA", "A")


def test_one_peer_has_no_more_connections_than_allowed(start: Start) -> None:
    """Item 5."""
    server, address = start(ReadyAcceptor(), max_connections_per_peer=1)

    with RawPeer(address) as first:
        first.send(block(A))
        first.answer()
        with RawPeer(address) as second:
            assert second.rest() == b""
        first.send(block(B))
        assert msa(first.answer()) == ("AA", "B")
    assert server.statistics()["connections_refused"] == {"too-many-of-peer": 1}


def test_a_connection_that_has_ended_makes_room_for_another(start: Start) -> None:
    _, address = start(ReadyAcceptor(), max_connections_per_peer=1)
    with RawPeer(address) as first:
        first.send(block(A))
        first.finish_sending()
        first.rest()

    with RawPeer(address) as second:
        second.send(block(B))
        assert msa(second.answer()) == ("AA", "B")


def test_a_peer_that_comes_again_ends_its_idle_connection(start: Start) -> None:
    """Item 6: a sender behind a tunnel that broke comes again; the old connection would stay for ever."""
    server, address = start(ReadyAcceptor(), replace_on_reconnect=True, max_connections_per_peer=1)

    with RawPeer(address) as old:
        old.send(block(A))
        old.answer()
        with RawPeer(address) as new:
            assert old.rest() == b""
            new.send(block(B))
            assert msa(new.answer()) == ("AA", "B")
    assert server.statistics()["closed"] == {"replaced": 1}


def test_a_connection_whose_message_is_not_answered_yet_is_not_replaced(start: Start) -> None:
    acceptor = HoldingAcceptor()
    server, address = start(acceptor, replace_on_reconnect=True)

    with RawPeer(address) as old:
        old.send(block(A))
        _, future = acceptor.take()
        with RawPeer(address) as new:
            new.send(block(B))
            acceptor.take()
            future.set_result(Outcome("AA"))
            assert msa(old.answer()) == ("AA", "A")
    assert server.statistics()["closed"] == {}


def test_a_connection_in_the_middle_of_a_message_is_not_replaced(start: Start) -> None:
    server, address = start(ReadyAcceptor(), replace_on_reconnect=True)

    with RawPeer(address) as old:
        old.send(block(A)[:20])
        wait_until(lambda: server.statistics()["buffered_bytes"] > 0)
        with RawPeer(address) as new:
            new.send(block(B))
            new.answer()
            old.send(block(A)[20:])
            assert msa(old.answer()) == ("AA", "A")
    assert server.statistics()["closed"] == {}


def test_connections_are_kept_side_by_side_unless_they_are_to_be_replaced(start: Start) -> None:
    _, address = start(ReadyAcceptor())

    with RawPeer(address) as old, RawPeer(address) as new:
        for peer, message in ((new, B), (old, A)):
            peer.send(block(message))
            assert msa(peer.answer())[0] == "AA"
