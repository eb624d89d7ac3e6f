"""How one listener behaves: its address, its names, its limits."""

import ipaddress
from dataclasses import dataclass, field
from typing import Literal

from hl7_listener.outcome import Outcome
from hl7_listener.tls import RenewedContext

_BYTES_PER_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ListenerPolicy:
    """One listener. A time of 0 is no limit. Raises ValueError where an allowed peer is neither an address nor a network.

    `application`, `facility`: our names in MSH-3 and MSH-4 of an answer. `allowed_peers`: addresses or networks (`10.1.0.0/16`);
    none = all. `max_buffered_mebibytes`: what all connections together may hold in unfinished and unanswered messages.
    `max_in_flight`: messages of one connection that wait for their outcome at a time; the next is not read before.
    `idle_timeout_seconds` is off by default: senders are silent all night, and TCP keepalive finds the dead ones.
    `replace_on_reconnect`: a new connection of an address ends its older idle ones. `bare_messages`: take `MSH ... <FS>` without
    `<VT>`. `mllp_release` 2 adds the commit acknowledgement blocks of MLLP Release 2. `style`: which acknowledgement codes answer
    our own failures; acceptors use it too.
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 2575
    application: str = "FHIR-BRIDGE"
    facility: str = ""
    allowed_peers: tuple[str, ...] = ()
    max_message_mebibytes: float = 50
    max_buffered_mebibytes: float = 512
    max_connections: int = 512
    max_connections_per_peer: int = 64
    max_in_flight: int = 32
    max_partial_age_seconds: float = 300
    idle_timeout_seconds: float = 0
    write_timeout_seconds: float = 60
    handshake_timeout_seconds: float = 15
    replace_on_reconnect: bool = False
    bare_messages: bool = False
    mllp_release: Literal[1, 2] = 1
    close_after_oversize: bool = False
    tls: RenewedContext | None = field(default=None, repr=False)
    style: Literal["original", "enhanced"] = "original"

    def __post_init__(self) -> None:
        for peer in self.allowed_peers:
            ipaddress.ip_network(peer, strict=False)

    @property
    def max_message_bytes(self) -> int:
        return int(self.max_message_mebibytes * _BYTES_PER_MEBIBYTE)

    @property
    def max_buffered_bytes(self) -> int:
        return int(self.max_buffered_mebibytes * _BYTES_PER_MEBIBYTE)

    @property
    def internal_error(self) -> Outcome:
        """The answer when the acceptor failed: try again later (table 0357, 207)."""
        code = "AR" if self.style == "original" else "CE"
        return Outcome(
            code, 207, text="the receiver cannot take the message now", application_code="mllp.acceptor-failed"
        )
