"""MLLP blocks without I/O: bytes in, whole messages out (HL7 v2 MLLP Release 1: `<VT> message <FS> <CR>`).

             VT (bare: MSH)         FS                    CR, LF, VT, end of stream
    OUTSIDE ────────────> INSIDE ────────> ENDING ──────────────────────────────────> OUTSIDE (VT: INSIDE)
      junk is counted      │ ▲ │ VT: what there is          │ any other byte:
                           │ │ └ is dropped, never glued    │ the FS was content
                           │ └──────────────────────────────┘
                           └ longer than the limit: only the head is kept

What a sender may do beside the standard is named, so that it can be counted; nothing is tolerated silently. The events do not
depend on how the stream is cut into reads. Time is linear in the bytes, memory bounded by the limit.
"""

import io
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
_BARE = b"MSH"
_BARE_START = re.compile(rb"\x0b|(?<=[\r\n\0])MSH")
_BARE_START_CUT = re.compile(rb"[\r\n\0](?:MS?)?\Z")  # it may go on in the next read


class Tolerance:
    """The names of what is accepted although the standard does not allow it."""

    BLANK_BEFORE_START = "blank-before-start"  # CR, LF, NUL, space outside a block
    JUNK_BEFORE_START = "junk-before-start"
    NO_START = "no-start"  # MSH without VT, where the listener takes bare messages
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
    """A message longer than the limit, or than what memory there was: its first bytes, and how many there were."""

    head: bytes = field(repr=False)
    size: int
    tolerances: tuple[str, ...] = ()
    crowded_out: bool = False  # not longer than the limit: memory for unfinished messages was used up


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
    """The reading end of one connection. Feed it what the socket gave; call `end` when nothing more will come.

    `bare_messages`: a segment MSH at the beginning of a line outside a block opens one, as if VT stood before it.
    """

    def __init__(self, max_message_bytes: int, *, bare_messages: bool = False) -> None:
        self._max = max_message_bytes
        self._state = _State.OUTSIDE
        self._kept = io.BytesIO()  # gives its bytes away without a copy
        self._size = 0
        self._is_head_only = self._is_crowded_out = False
        self._held = b""  # outside a block: bytes that may turn out to begin a bare message
        self._tolerances: list[str] = []
        self._junk_count = 0
        self._junk_reason = Tolerance.BLANK_BEFORE_START
        self._events: list[FramingEvent] = []
        self._steps: dict[_State, Callable[[bytes, int], int]] = {
            _State.OUTSIDE: self._outside_bare if bare_messages else self._outside,
            _State.INSIDE: self._inside,
            _State.ENDING: self._ending,
        }

    @property
    def is_open(self) -> bool:
        """Whether a block has begun and not ended."""
        return self._state is not _State.OUTSIDE

    @property
    def kept_bytes(self) -> int:
        """How much of the open block is kept in memory."""
        return self._kept.tell()

    def crowd_out(self) -> None:
        """Keep no more than the head of the open block: when it ends it comes out as Oversize."""
        self._is_crowded_out = True
        self._keep_head_only()

    def feed(self, data: bytes) -> list[FramingEvent]:
        """The events that these bytes complete, in stream order."""
        if self._held:
            data, self._held = self._held + data, b""
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
        self._note_junk(self._held)
        self._held = b""
        self._report_junk()
        return self._take_events()

    def _outside(self, data: bytes, position: int) -> int:
        start = data.find(VT, position)
        if start != position:
            self._note_junk(data[position : start if start >= 0 else len(data)])
        return self._begin(data, start + 1) if start >= 0 else len(data)

    def _outside_bare(self, data: bytes, position: int) -> int:
        is_first = not self._junk_count
        if is_first and data.startswith(_BARE, position):
            start, mark = position, _BARE
        elif found := _BARE_START.search(data, position):
            start, mark = found.start(), found.group()
        else:
            rest = data[position:]
            cut = _BARE_START_CUT.search(rest[-len(_BARE) :])
            self._held = rest if is_first and rest in (b"M", b"MS") else cut.group() if cut else b""
            self._note_junk(rest[: len(rest) - len(self._held)])
            return len(data)
        self._note_junk(data[position:start])
        if mark == VT:
            return self._begin(data, start + 1)
        self._open(self._report_junk(), Tolerance.NO_START)
        return start

    def _begin(self, data: bytes, position: int) -> int:
        """A block whose content starts here: taken at once if it ends in the same read as the standard has it."""
        junk = self._report_junk()
        end = data.find(FS, position)
        if 0 <= end - position <= self._max and data.startswith(CR, end + 1) and data.find(VT, position, end) < 0:
            payload = data[position:end]
            tolerances = _content_tolerances(payload)
            self._events.append(Frame(payload, (junk, *tolerances) if junk else tolerances))
            return end + 2
        self._open(junk)
        return position

    def _inside(self, data: bytes, position: int) -> int:
        if position == 0 and VT not in data and FS not in data:  # the middle of a long message
            self._keep(data)
            return len(data)
        mark = _MARK.search(data, position)
        self._keep(data[position : mark.start() if mark else len(data)])
        if mark is None:
            return len(data)
        if mark.group() == FS:
            self._state = _State.ENDING
        elif self._size:
            self._drop_block()
            self._open("")
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
            return self._begin(data, position + 1)
        else:  # an FS that ends nothing is content, though the standard forbids it there
            self._keep(FS)
            self._state = _State.INSIDE
            return position
        return position + 1

    def _open(self, *tolerances: str) -> None:
        self._state = _State.INSIDE
        self._tolerances = [name for name in tolerances if name]

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max:
            self._keep_head_only()
        self._kept.write(data[: HEAD_BYTES - self.kept_bytes] if self._is_head_only else data)

    def _keep_head_only(self) -> None:
        if not self._is_head_only:
            self._is_head_only = True
            self._kept = io.BytesIO(self._kept.getvalue()[:HEAD_BYTES])
            self._kept.seek(0, io.SEEK_END)

    def _complete(self, *tolerances: str) -> None:
        found = (*self._tolerances, *tolerances)
        payload = self._kept.getvalue()
        if self._is_head_only:
            is_crowded_out = self._is_crowded_out and self._size <= self._max
            self._events.append(Oversize(payload, self._size, found, is_crowded_out))
        else:
            self._events.append(Frame(payload, (*found, *_content_tolerances(payload))))
        self._forget_block()

    def _drop_block(self) -> None:
        self._events.append(Discarded(Tolerance.UNFINISHED_BLOCK, self._size))
        self._forget_block()

    def _forget_block(self) -> None:
        self._state = _State.OUTSIDE
        self._kept = io.BytesIO()
        self._size = 0
        self._is_head_only = self._is_crowded_out = False

    def _note_junk(self, data: bytes) -> None:
        """Bytes outside any block; what they are is known when their run ends."""
        self._junk_count += len(data)
        solid = data.translate(None, _BLANK)
        if solid.strip(FS):
            self._junk_reason = Tolerance.JUNK_BEFORE_START
        elif solid and self._junk_reason == Tolerance.BLANK_BEFORE_START:
            self._junk_reason = Tolerance.DOUBLED_END

    def _report_junk(self) -> str:
        """Close a run of bytes outside any block; its reason, or an empty string where there were none."""
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
    found = []
    if payload.startswith(BYTE_ORDER_MARK):
        found.append(Tolerance.BYTE_ORDER_MARK)
    if LF in payload:
        if CR not in payload:
            found.append(Tolerance.LF_SEGMENTS)
        elif CR + LF in payload:
            found.append(Tolerance.CRLF_SEGMENTS)
    if CR + CR in payload:
        found.append(Tolerance.BLANK_SEGMENT)
    if not payload.endswith((CR, LF)):
        found.append(Tolerance.NO_LAST_CR)
    return tuple(found)
