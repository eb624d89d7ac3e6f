"""Batches: many messages in one block or file (HL7 v2.5.1 §2.10.3), read without loss, answered together or one by one.

    [FHS] { [BHS] { MSH ... } [BTS] } [FTS]

The headers and trailers are optional: a file of bare messages is read as one batch without a control ID. Each message keeps its
bytes; its place is the batch's control ID (BHS-11, else FHS-11) and a number that counts from 1 within that ID.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from hl7_listener.header import Header, header_start, read_segment_header
from hl7_listener.refusal import MessageRefused

_BOUNDARY = re.compile(rb"(?<=[\r\n])(?:FHS|BHS|MSH|BTS|FTS)(?=[^A-Za-z0-9\s]|[\r\n]|\Z)")
_NAMES = (b"FHS", b"BHS", b"MSH", b"BTS", b"FTS")
_LINE_END = re.compile(rb"[\r\n]")
_BLANK = b"\r\n\0 \t\x1a"  # 1A ends a file on some systems
_MAY_FOLLOW_A_HEADER = (b"SFT", b"UAC", b"NTE")


@dataclass(frozen=True, slots=True)
class BatchedMessage:
    """A message out of a batch, byte for byte."""

    payload: bytes = field(repr=False)
    batch: str
    index: int

    @property
    def place(self) -> str:
        """`B7#3`: stands in for a missing MSH-10, and tells people where the message came from."""
        return f"{self.batch}#{self.index}"


@dataclass(frozen=True, slots=True)
class BatchWarning:
    """`hl7v2.batch-count` (BTS-1 or FTS-1 is not what is there), `hl7v2.batch-truncated` (a header without its trailer)."""

    code: str
    where: str


@dataclass(slots=True)
class Batch:
    """One BHS with its messages, or messages without BHS."""

    header: Header | None
    control_id: str
    spans: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A payload that holds several messages."""

    raw: bytes = field(repr=False)
    header: Header | None
    batches: tuple[Batch, ...]
    warnings: tuple[BatchWarning, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing says that the end is missing: only then may the source be deleted."""
        return all(warning.code != "hl7v2.batch-truncated" for warning in self.warnings)

    def messages(self) -> Iterator[BatchedMessage]:
        """In the order of the file, one at a time."""
        counts: Counter[str] = Counter()
        for batch in self.batches:
            for start, end in batch.spans:
                counts[batch.control_id] += 1
                yield BatchedMessage(self.raw[start:end], batch.control_id, counts[batch.control_id])


def is_batch(payload: bytes) -> bool:
    """Whether a payload begins a batch, or holds a second message."""
    start = header_start(payload)
    return payload[start : start + 3] in (b"FHS", b"BHS") or _BOUNDARY.search(payload, start) is not None


def read_batch(payload: bytes) -> BatchFile:
    """All the messages of a payload.

    Raises MessageRefused `hl7v2.no-header` (it begins with none of FHS, BHS, MSH), `hl7v2.delimiters` (of FHS or BHS),
    `hl7v2.batch-order` (text behind a trailer, or a segment that belongs to no message).
    """
    start = header_start(payload)
    if payload[start : start + 3] not in _NAMES[:3]:
        raise MessageRefused("hl7v2.no-header", "MSH", "the text begins with none of the segments FHS, BHS and MSH")
    reader = _Reader(payload)
    starts = [start, *(match.start() for match in _BOUNDARY.finditer(payload, start + 1)), len(payload)]
    for begin, end in itertools.pairwise(starts):
        reader.take(begin, end)
    return reader.finish()


class _Reader:
    """Takes a file stretch by stretch, each from one header, message or trailer to the next."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._file: Header | None = None
        self._is_over = False  # FTS was seen
        self._open: Batch | None = None  # from BHS, or a first message without one, to BTS
        self._batches: list[Batch] = []
        self._warnings: list[BatchWarning] = []

    def take(self, start: int, end: int) -> None:
        name = self._payload[start : start + 3]
        if self._is_over:
            raise _out_of_place(name.decode("ascii"), "nothing may follow the segment FTS")
        if name == b"MSH":
            batch = self._open or self._begin(None)
            batch.spans.append((start, end))
            return
        line_end = _LINE_END.search(self._payload, start, end)
        stop = line_end.start() if line_end else end
        _check_rest(name, self._payload[stop:end])
        segment = self._payload[start:stop]
        {b"FHS": self._begin_file, b"BHS": self._begin_batch, b"BTS": self._end_batch, b"FTS": self._end_file}[name](
            segment
        )

    def finish(self) -> BatchFile:
        self._leave_batch()
        if self._file and not self._is_over:
            self._warnings.append(BatchWarning("hl7v2.batch-truncated", "FTS"))
        return BatchFile(self._payload, self._file, tuple(self._batches), tuple(self._warnings))

    def _begin_file(self, segment: bytes) -> None:
        if self._file or self._batches:
            raise _out_of_place("FHS", "the segment FHS must be the first, and the only one")
        self._file = read_segment_header(segment)

    def _begin_batch(self, segment: bytes) -> None:
        self._leave_batch()
        self._begin(read_segment_header(segment))

    def _begin(self, header: Header | None) -> Batch:
        named = [asked.component(11) for asked in (header, self._file) if asked]
        self._open = Batch(header, next(filter(None, named), ""))
        self._batches.append(self._open)
        return self._open

    def _leave_batch(self) -> None:
        """A batch that no BTS closed. Without BHS it needs none."""
        if self._open and self._open.header:
            self._warnings.append(BatchWarning("hl7v2.batch-truncated", "BTS"))
        self._open = None

    def _end_batch(self, segment: bytes) -> None:
        if self._open is None:
            raise _out_of_place("BTS", "the segment BTS closes no batch")
        self._compare("BTS", segment, self._open.header or self._file, len(self._open.spans))
        self._open = None

    def _end_file(self, segment: bytes) -> None:
        self._leave_batch()
        self._is_over = True
        self._compare("FTS", segment, self._file, len(self._batches))

    def _compare(self, name: str, trailer: bytes, opened_by: Header | None, found: int) -> None:
        separator = opened_by.delimiters.field.encode() if opened_by else trailer[3:4]
        claimed = trailer.split(separator)[1].strip() if separator and separator in trailer else b""
        if claimed and claimed.lstrip(b"0") != (b"%d" % found).lstrip(b"0"):
            self._warnings.append(BatchWarning("hl7v2.batch-count", f"{name}-1"))


def _check_rest(name: bytes, rest: bytes) -> None:
    """What stands between a header or trailer and the next one: blank lines, and what v2.6 and later put behind a header."""
    for line in rest.replace(b"\n", b"\r").split(b"\r"):
        if line.strip(_BLANK) and (name in (b"BTS", b"FTS") or line[:3] not in _MAY_FOLLOW_A_HEADER):
            raise _out_of_place(
                name.decode("ascii"), f"text that belongs to no message follows the segment {name.decode('ascii')}"
            )


def _out_of_place(where: str, explanation: str) -> MessageRefused:
    return MessageRefused("hl7v2.batch-order", where, explanation)
