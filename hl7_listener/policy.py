"""How one listener behaves: its address, its names, its limits."""

import ssl
from dataclasses import dataclass, field
from typing import Literal

from hl7_listener.acknowledgement import Outcome

_BYTES_PER_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ListenerPolicy:
    """One listener. A limit of None is no limit.

    `application`, `facility`: our names in MSH-3 and MSH-4 of an answer. `max_in_flight`: messages of one connection that wait for
    their outcome at a time; the next is not read before. `idle_timeout_seconds` is off by default: senders are silent all night,
    and TCP keepalive finds the dead ones. `style`: which acknowledgement codes answer our own failures; acceptors use it too.
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 2575
    application: str = "FHIR-BRIDGE"
    facility: str = ""
    max_message_mebibytes: float = 50
    max_connections: int = 256
    max_in_flight: int = 32
    idle_timeout_seconds: float | None = None
    write_timeout_seconds: float | None = 60
    max_partial_age_seconds: float | None = 300
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    style: Literal["original", "enhanced"] = "original"

    @property
    def max_message_bytes(self) -> int:
        return int(self.max_message_mebibytes * _BYTES_PER_MEBIBYTE)

    @property
    def internal_error(self) -> Outcome:
        """The answer when the acceptor failed: try again later (table 0357, 207)."""
        code = "AR" if self.style == "original" else "CE"
        return Outcome(
            code, 207, text="the receiver cannot take the message now", application_code="mllp.acceptor-failed"
        )
