"""Where words can lie in a compressed image: the comments and application data of JPEG, JPEG-LS and JPEG 2000 codestreams.

A marker walk over the main header (T.81 §B.1.1, T.800 §A.2); the pixels themselves are not decoded.
"""

import re
import struct
from collections.abc import Iterator

_KNOWN_WRITERS = re.compile(  # what encoders sign with; everything else in a comment is somebody's words
    rb"(Created by (GDCM/)?OpenJPEG version [0-9.]+|Kakadu-v?[0-9.]+|Creator: JasPer Version [0-9.]+|MITRA_DICOM_STANDARD"
    rb"|Kdu-Layer-Info: log_2\{Delta-D\(squared-error\)/Delta-L\(bytes\)\}, L\(bytes\)[-+0-9., e\n]*)\0?"
)
_JPEG, _JPEG_2000, _END = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd9"
_MOST_RLE_SEGMENTS = 15  # PS3.5 §G.5


def may_hold_words(frame: bytes) -> bool:
    """Whether the codestream of a frame carries a comment, or anything outside the image that could be one."""
    if frame[:2] == _JPEG:
        contents = list(_segments(frame, stop=b"\xff\xda"))
    elif frame[:4] == _JPEG_2000:
        contents = list(_segments(frame, stop=b"\xff\x90"))
    else:
        return not _is_rle(frame)
    ends_with_image = frame.rstrip(b"\0").endswith(_END)
    return not ends_with_image or any(_holds_words(marker, content) for marker, content in contents)


def _segments(frame: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(marker, content) of the main header; a header that cannot be walked to its end yields an empty marker."""
    position = 2
    while position + 4 <= len(frame):
        marker, length = struct.unpack_from(">2sH", frame, position)
        if marker == stop:
            return
        if marker == b"\xff\xff":  # fill
            position += 1
            continue
        if marker[:1] != b"\xff" or length < 2:
            break
        yield marker, frame[position + 4 : position + 2 + length]
        position += 2 + length
    yield b"", b""


def _holds_words(marker: bytes, content: bytes) -> bool:
    if marker == b"":
        return True
    if marker == b"\xff\xfe":  # COM
        return _KNOWN_WRITERS.fullmatch(content) is None
    if marker == b"\xff\x64":  # COM of JPEG 2000, after Rcom, the registration value
        return _KNOWN_WRITERS.fullmatch(content[2:]) is None
    jfif = marker == b"\xff\xe0" and content[:5] in (b"JFIF\0", b"LJIF\0") and len(content) == 14
    adobe = marker == b"\xff\xee" and content[:5] == b"Adobe" and len(content) <= 12
    return 0xE0 <= marker[1] <= 0xEF and not jfif and not adobe


def _is_rle(frame: bytes) -> bool:
    """PS3.5 §G.5: a header of sixteen longs, the first the number of segments, the second the offset of the first, 64."""
    if len(frame) < 64:
        return False
    segments, first = int.from_bytes(frame[:4], "little"), int.from_bytes(frame[4:8], "little")
    return 1 <= segments <= _MOST_RLE_SEGMENTS and first == 64
