"""MLLP blocks without I/O: bytes in, whole messages out (HL7 v2 MLLP Release 1: `<VT> message <FS> <CR>`).

             VT                     FS                    CR, LF, VT, end of stream
    OUTSIDE ────────────> INSIDE ────────> ENDING ──────────────────────────────────> OUTSIDE (VT: INSIDE)
      junk is counted      │ ▲ │ VT: what there is          │ any other byte:
                           │ │ └ is dropped, never glued    │ the FS was content
                           │ └──────────────────────────────┘
                           └ longer than the limit: only the head is kept

What a sender may do beside the standard is named, so that it can be counted; nothing is tolerated silently. The events do not
depend on how the stream is cut into reads. Time is linear in the bytes, memory bounded by the limit.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from hl7_listener.refusal import MessageRefused

VT, FS, CR, LF = b"\x0b", b"\x1c", b"\r", b"\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEAD_BYTES = 8192  # what is kept of an oversize message: enough for any MSH, so that its answer names its MSH-10
_MARK = re.compile(rb"[\x0b\x1c]")
_BLANK = b"\r\n\0 "


class Tolerance:
    """The names of what is accepted although the standard does not allow it."""

    BLANK_BEFORE_START = "blank-before-start"  # CR, LF, NUL, space outside a block
    JUNK_BEFORE_START = "junk-before-start"
    DOUBLED_START = "doubled-start"  # VT VT
    DOUBLED_END = "doubled-end"  # FS CR FS CR
    END_WITHOUT_CR = "end-without-cr"  # FS, then VT or the end of the stream
    END_WITH_LF = "end-with-lf"  # FS LF
    UNFINISHED_BLOCK = "unfinished-block"  # a VT, or the end of the stream, before any FS: dropped
    BYTE_ORDER_MARK = "byte-order-mark"
    LF_SEGMENTS = "lf-segments"
    CRLF_SEGMENTS = "crlf-segments"
    BLANK_SEGMENT = "blank-segment"
    NO_LAST_CR = "no-last-cr"


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole message, byte for byte, and what had to be tolerated to get it."""

    payload: bytes = field(repr=False)
    tolerances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Oversize:
    """A message longer than the limit: its first bytes, and how many there were."""

    head: bytes = field(repr=False)
    size: int
    tolerances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Discarded:
    """Bytes that belong to no message. `reason` is one of the tolerances."""

    reason: str
    count: int


FramingEvent = Frame | Oversize | Discarded


class _State(Enum):
    OUTSIDE = auto()
    INSIDE = auto()
    ENDING = auto()  # inside, and the last byte was FS


class Decoder:
    """The reading end of one connection. Feed it what the socket gave; call `end` when nothing more will come."""

    def __init__(self, max_message_bytes: int) -> None:
        self._max = max_message_bytes
        self._state = _State.OUTSIDE
        self._kept = bytearray()
        self._size = 0
        self._tolerances: list[str] = []
        self._junk_count = 0
        self._junk_reason = Tolerance.BLANK_BEFORE_START
        self._events: list[FramingEvent] = []
        self._steps: dict[_State, Callable[[bytes, int], int]] = {
            _State.OUTSIDE: self._outside,
            _State.INSIDE: self._inside,
            _State.ENDING: self._ending,
        }

    @property
    def is_open(self) -> bool:
        """Whether a block has begun and not ended."""
        return self._state is not _State.OUTSIDE

    def feed(self, data: bytes) -> list[FramingEvent]:
        """The events that these bytes complete, in stream order."""
        position = 0
        while position < len(data):
            position = self._steps[self._state](data, position)
        return self._take_events()

    def end(self) -> list[FramingEvent]:
        """The stream is over: a block whose FS was seen counts as whole, any other is dropped."""
        if self._state is _State.ENDING:
            self._complete(Tolerance.END_WITHOUT_CR)
        elif self._state is _State.INSIDE:
            self._drop_block()
        self._report_junk()
        return self._take_events()

    def _outside(self, data: bytes, position: int) -> int:
        start = data.find(VT, position)
        self._note_junk(data[position : start if start >= 0 else len(data)])
        if start < 0:
            return len(data)
        junk = self._report_junk()
        self._open()
        if junk:
            self._tolerances.append(junk)
        return start + 1

    def _inside(self, data: bytes, position: int) -> int:
        mark = _MARK.search(data, position)
        self._keep(data[position : mark.start() if mark else len(data)])
        if mark is None:
            return len(data)
        if mark.group() == FS:
            self._state = _State.ENDING
        elif self._size:
            self._drop_block()
            self._open()
        elif Tolerance.DOUBLED_START not in self._tolerances:
            self._tolerances.append(Tolerance.DOUBLED_START)
        return mark.end()

    def _ending(self, data: bytes, position: int) -> int:
        following = data[position : position + 1]
        if following == CR:
            self._complete()
        elif following == LF:
            self._complete(Tolerance.END_WITH_LF)
        elif following == VT:
            self._complete(Tolerance.END_WITHOUT_CR)
            self._open()
        else:  # an FS that ends nothing is content, though the standard forbids it there
            self._keep(FS)
            self._state = _State.INSIDE
            return position
        return position + 1

    def _open(self) -> None:
        self._state = _State.INSIDE
        self._kept = bytearray()
        self._size = 0
        self._tolerances = []

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._max:
            self._kept += data
        elif len(self._kept) < HEAD_BYTES:
            self._kept += data[: HEAD_BYTES - len(self._kept)]
        else:
            del self._kept[HEAD_BYTES:]

    def _complete(self, *tolerances: str) -> None:
        found = (*self._tolerances, *tolerances)
        if self._size > self._max:
            self._events.append(Oversize(bytes(self._kept[:HEAD_BYTES]), self._size, found))
        else:
            payload = bytes(self._kept)
            self._events.append(Frame(payload, (*found, *_content_tolerances(payload))))
        self._state = _State.OUTSIDE
        self._kept = bytearray()

    def _drop_block(self) -> None:
        self._events.append(Discarded(Tolerance.UNFINISHED_BLOCK, self._size))
        self._state = _State.OUTSIDE
        self._kept = bytearray()

    def _note_junk(self, data: bytes) -> None:
        self._junk_count += len(data)
        solid = data.translate(None, _BLANK)
        if solid.strip(FS):
            self._junk_reason = Tolerance.JUNK_BEFORE_START
        elif solid and self._junk_reason == Tolerance.BLANK_BEFORE_START:
            self._junk_reason = Tolerance.DOUBLED_END

    def _report_junk(self) -> str:
        """Close a run of bytes outside any block; its reason, or an empty string where there was none."""
        if not self._junk_count:
            return ""
        reason = self._junk_reason
        self._events.append(Discarded(reason, self._junk_count))
        self._junk_count, self._junk_reason = 0, Tolerance.BLANK_BEFORE_START
        return reason

    def _take_events(self) -> list[FramingEvent]:
        events, self._events = self._events, []
        return events


def frame(payload: bytes) -> bytes:
    """A block around the payload. Raises MessageRefused `mllp.control-byte` where it holds a VT or FS, which no block can carry."""
    if VT in payload or FS in payload:
        raise MessageRefused("mllp.control-byte", "MLLP", "the message holds a byte 0x0B or 0x1C, which ends a block")
    return VT + payload + FS + CR


def _content_tolerances(payload: bytes) -> tuple[str, ...]:
    has_cr = CR in payload
    found = {
        Tolerance.BYTE_ORDER_MARK: payload.startswith(BYTE_ORDER_MARK),
        Tolerance.LF_SEGMENTS: LF in payload and not has_cr,
        Tolerance.CRLF_SEGMENTS: has_cr and CR + LF in payload,
        Tolerance.BLANK_SEGMENT: CR + CR in payload,
        Tolerance.NO_LAST_CR: not payload.endswith((CR, LF)),
    }
    return tuple(name for name, present in found.items() if present)
