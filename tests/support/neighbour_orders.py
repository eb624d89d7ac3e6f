"""Orders as the real neighbours of the acceptance tests send them. Every patient is invented."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

_numbers = itertools.count(1)


@dataclass(frozen=True)
class NeighbourOrder:
    """One new order; each has numbers of its own. `extra` are segments after OBR."""

    version: str = "2.5.1"
    kind: str = "ORM^O01"
    application: str = "RIS"
    processing_id: str = "P"
    accept: str = ""  # MSH-15 and MSH-16
    charset: str = ""
    name: str = "CANARY^ZEBRA"
    orc: str = "ORC|NW|CANARY-NP{number}^CPOE"
    extra: Sequence[str] = ()
    control_id: str = ""
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def id(self) -> str:
        """MSH-10."""
        return self.control_id or f"NEIGHBOUR{self.number:05d}"

    @property
    def placer(self) -> str:
        return f"CANARY-NP{self.number}"

    def text(self, end: str = "\r") -> str:
        msh = (
            f"MSH|^~\\&|{self.application}|HOSP|||20261102091500+0000||{self.kind}|{self.id}|{self.processing_id}"
            f"|{self.version}|||{self.accept or '|'}||{self.charset}"
        )
        segments = [
            msh.rstrip("|"),
            f"PID|1||CANARY-N{self.number}^^^HOSP^MR||{self.name}||20230517|F",
            self.orc.format(number=self.number),
            f"OBR|1|CANARY-NP{self.number}^CPOE||XRCHEST1^Chest radiograph^L",
            *self.extra,
        ]
        return "".join(f"{segment}{end}" for segment in segments)

    def bytes(self, charset: str = "ascii", end: str = "\r") -> bytes:
        return self.text(end).encode(charset)
