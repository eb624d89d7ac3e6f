"""Parts of a multipart body (RFC 2046 §5.1.1) from its chunks, sans-I/O: one part in memory at a time, the end proven."""

import re
from collections.abc import Iterable, Iterator

MAX_PART_BYTES = 2 << 30
_MAX_HEADER_BYTES = 16 << 10  # of one part's header, and of what precedes the first delimiter


class BrokenMultipart(Exception):
    """The body is not what its Content-Type says: no delimiter, a broken part, a part over the limit."""


class TruncatedMultipart(BrokenMultipart):
    """The body ended without its closing delimiter, or a part is shorter than its own Content-Length."""


def boundary_of(content_type: str) -> bytes:
    """The boundary parameter of `multipart/related` (RFC 2387, PS3.18 §8.6.1.2). Raises BrokenMultipart."""
    found = re.search(r';\s*boundary=(?:"([^"\r\n]{1,200})"|([^\s";,]{1,200}))', content_type, re.IGNORECASE)
    if not content_type.lower().startswith("multipart/") or not found:
        raise BrokenMultipart("not multipart")
    return (found[1] or found[2]).encode("latin-1", "replace")


def parts(chunks: Iterable[bytes], boundary: bytes, max_part_bytes: int = MAX_PART_BYTES) -> Iterator[memoryview]:
    """The body of each part, without its header. Raises TruncatedMultipart, BrokenMultipart."""
    delimiter = b"--" + boundary
    mark, limit = delimiter, _MAX_HEADER_BYTES  # the first delimiter may have no line break before it
    buffer, scanned = bytearray(), 0
    for chunk in chunks:
        buffer += chunk
        while True:
            start = buffer.find(mark, scanned)
            if start < 0 or (end := _line_end(buffer, start + len(mark))) is None:
                scanned = max(0, len(buffer) - len(mark)) if start < 0 else start
                break
            _check_length(start, limit)
            if mark is not delimiter:
                yield _body(buffer, start)
            if end < 0:
                return
            buffer = bytearray(memoryview(buffer)[end:])  # a new one: the part that was handed out stays valid
            mark, limit, scanned = b"\r\n" + delimiter, max_part_bytes + _MAX_HEADER_BYTES, 0
        _check_length(len(buffer), limit)
    raise TruncatedMultipart("no closing delimiter")


def _check_length(length: int, limit: int) -> None:
    if length > limit:
        raise BrokenMultipart("no delimiter within the limit")


def _line_end(buffer: bytearray, position: int) -> int | None:
    """After a delimiter: where its line break starts, -1 if it closes the body, None while its line is not all there."""
    if buffer[position : position + 2] == b"--":
        return -1
    while position < len(buffer) and buffer[position] in b" \t":  # transport padding
        position += 1
    if len(buffer) < position + 2:
        return None
    if buffer[position : position + 2] != b"\r\n":
        raise BrokenMultipart("a delimiter inside a part")
    return position


def _body(buffer: bytearray, end: int) -> memoryview:
    """The part's content: from the empty line after its header (there may be none) to the delimiter."""
    header_end = buffer.find(b"\r\n\r\n", 0, min(end, _MAX_HEADER_BYTES) + 4)
    if not 0 <= header_end <= end - 4:
        raise BrokenMultipart("a part without the end of its header")
    body = memoryview(buffer)[header_end + 4 : end]
    declared = re.search(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n", buffer[: header_end + 2], re.IGNORECASE)
    if declared and int(declared[1]) != len(body):
        raise TruncatedMultipart("a part of another length than it declares")
    return body
