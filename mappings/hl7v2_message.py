"""How the mappings read an HL7 v2 message: a view, so that they need no parser. `hl7_listener.message.Message` fits it."""

from collections.abc import Sequence, Set
from typing import Protocol

NULL = '""'  # HL7 v2.5.1 §2.5.3: delete, as against empty = no change


class SegmentView(Protocol):
    """One segment. Fields, components and repetitions count from 1 as in the standard; MSH-1 is the field separator."""

    @property
    def name(self) -> str: ...

    @property
    def filled(self) -> Set[int]:
        """The numbers of the fields that hold something; 0 is the name."""

    def components(self, field: int) -> Sequence[Sequence[str]]:
        """A whole field at once: the components of each repetition, as `value` has them. Nothing where the field is empty."""

    def repetitions(self, field: int) -> int:
        """How many repetitions the field has; 0 where it is empty or missing."""

    def value(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """Decoded, unescaped text; empty where missing; `NULL` where the sender wrote two double quotes."""

    def text(self, field: int, repetition: int = 1) -> str:
        """A repetition as one text: for free text, where senders leave component separators unescaped."""


class MessageView(Protocol):
    """A whole message."""

    @property
    def segments(self) -> Sequence[SegmentView]: ...
