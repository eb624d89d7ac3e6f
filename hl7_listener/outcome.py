"""What became of a message, before it is put into bytes (HL7 v2.5.1 §2.9.2, tables 0008, 0119, 0357, 0516)."""

from dataclasses import dataclass, field

ERROR_CODES = {  # table 0357
    0: "Message accepted",
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    205: "Duplicate key identifier",
    206: "Application record locked",
    207: "Application internal error",
}
POSITIVE = frozenset({"AA", "CA"})
_CODES = POSITIVE | {"AE", "AR", "CE", "CR", ""}


@dataclass(frozen=True, slots=True)
class OrderAnswer:
    """One order in an order response (ORR^O02, ORG^O20, ORI^O24, ORL^O22; §4.4): ORC-1 of table 0119 (OK, UA, CR, UC, XR ...).

    `placer` and `filler` are ORC-2 and ORC-3 as the sender wrote them, byte for byte and with its delimiters.
    """

    control: str
    placer: bytes = field(default=b"", repr=False)
    filler: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message. None of it may hold a patient's value: it is sent, logged and shown.

    `code` is MSA-1, empty = send nothing; `error_code` a key of `ERROR_CODES`; `location` as in MessageRefused (`PID-3.1`,
    `PID^1^3`); `text` for the sender's support (MSA-3 or ERR-8); `application_code` our own slug (ERR-5). `expected_sequence` is
    MSA-4, where the sequence number protocol (§2.10.1) is agreed; `orders`, where the sender wants them, make the answer to an
    order message an ORR, ORG, ORI or ORL; `short_type` makes MSH-9 `ACK` alone, for peers that take nothing else.
    """

    code: str
    error_code: int = 0
    location: str = ""
    text: str = ""
    application_code: str = ""
    expected_sequence: int | None = None
    orders: tuple[OrderAnswer, ...] = ()
    short_type: bool = False

    def __post_init__(self) -> None:
        if self.code not in _CODES or self.error_code not in ERROR_CODES:
            raise ValueError("an outcome needs a code of table 0008 and an error code of table 0357")

    @property
    def severity(self) -> str:
        """ERR-4 (table 0516): I, W or E."""
        if self.code not in POSITIVE:
            return "E"
        return "W" if self.error_code else "I"
