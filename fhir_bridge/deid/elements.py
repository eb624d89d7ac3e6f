"""DICOM data elements as bytes (PS3.5 §7, PS3.10 §7.1): read lazily, written in order, values never interpreted here.

No parser of others stands in the path of the data: its warnings and exceptions quote values, and what it repairs silently is
not checked. pydicom is the second reader, of what comes out (`second_reader`). Raises Refused `deid.dicom-unreadable`,
`deid.transfer-syntax-unsupported`.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydicom.uid import UID_dictionary

from fhir_bridge.errors import Refused

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT_VRS = frozenset({"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN"}) | frozenset(
    {"SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"}
)
_DEEPEST = 32
_LARGEST_INFLATED = 1 << 30
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_PAPYRUS = "1.2.840.10008.1.20"  # retired, implicit, not DICOM
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_UID = re.compile(rb"[0-9.]{1,64}\0?")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written: with or without Value Representations, which end first."""

    implicit: bool = False
    little: bool = True

    @property
    def order(self) -> str:
        return "<" if self.little else ">"


@dataclass(frozen=True, slots=True)
class Element:
    """One data element. `value` lies between header and end; `vr` is empty in Implicit VR; `encoding` is that of nested items."""

    tag: int
    vr: str
    value: memoryview = field(repr=False)
    undefined_length: bool = False
    encoding: Encoding = Encoding()

    def items(self) -> Iterator[dict[int, "Element"]]:
        """The items of a sequence (PS3.5 §7.5)."""
        position = 0
        while position < len(self.value):
            tag, length, start = _item_header(self.value, position, self.encoding)
            if tag != _ITEM:
                raise unreadable(self.tag)
            if length == _UNDEFINED:
                end = _end_of_item(self.value, start, self.encoding, 0)
                content, position = self.value[start : end - 8], end
            else:
                content, position = self.value[start : start + length], start + length
            yield read_elements(content, self.encoding)


@dataclass(frozen=True, slots=True)
class Part10:
    """A file as read: its transfer syntax and data set. The preamble and the rest of the file meta are left behind."""

    transfer_syntax: str
    encoding: Encoding
    elements: dict[int, Element] = field(repr=False)


def unreadable(tag: int | None = None) -> Refused:
    """The refusal of bytes that are not DICOM, with the tag of the element and never its value."""
    where = "file" if tag is None else name_of(tag)
    return Refused("deid.dicom-unreadable", where, "the file is not readable as a DICOM Part 10 file")


def name_of(tag: int) -> str:
    """`0010,0020`; every private element is `private`, since even a tag can be made to spell something."""
    return "private" if tag >> 16 & 1 else f"{tag >> 16:04X},{tag & 0xFFFF:04X}"


def read_file(content: bytes) -> Part10:
    """A Part 10 file. Reading ends with Pixel Data: what may follow it (padding, signatures) is never kept."""
    if content[128:132] != b"DICM":
        raise unreadable()
    view = memoryview(content)
    position, transfer_syntax = 132, ""
    while position + 8 <= len(view) and bytes(view[position : position + 2]) == b"\x02\x00":
        element, position = _read_element(view, position, Encoding(), 0)
        if element.tag == 0x00020010 and _UID.fullmatch(bytes(element.value)):
            transfer_syntax = bytes(element.value).rstrip(b"\0").decode("ascii")
    encoding = _encoding_of(transfer_syntax)
    data_set = view[position:]
    if transfer_syntax == _DEFLATED:
        data_set, transfer_syntax = _inflate(data_set), EXPLICIT_LITTLE
    return Part10(transfer_syntax, encoding, read_elements(data_set, encoding))


def _encoding_of(transfer_syntax: str) -> Encoding:
    if not transfer_syntax:
        raise unreadable(0x00020010)
    if UID_dictionary.get(transfer_syntax, ("", ""))[1] != "Transfer Syntax" or transfer_syntax == _PAPYRUS:
        raise Refused(
            "deid.transfer-syntax-unsupported", "0002,0010", "the transfer syntax is not one of the standard's"
        )
    return Encoding(implicit=transfer_syntax == _IMPLICIT_LITTLE, little=transfer_syntax != _EXPLICIT_BIG)


def _inflate(deflated: memoryview) -> memoryview:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(deflated, _LARGEST_INFLATED)
    except zlib.error:
        raise unreadable() from None
    if inflater.unconsumed_tail or not inflater.eof:
        raise unreadable()
    return memoryview(content)


def read_elements(view: memoryview, encoding: Encoding) -> dict[int, Element]:
    """The elements of a data set or item by tag. A tag that comes twice is refused: which of the two would be the value?"""
    elements: dict[int, Element] = {}
    position = 0
    while position < len(view):
        if len(view) - position < 8 and not any(view[position:]):
            break  # a few NULs at the end, as some archives write
        element, position = _read_element(view, position, encoding, 0)
        if element.tag in elements:
            raise unreadable(element.tag)
        elements[element.tag] = element
        if element.tag == PIXEL_DATA:
            break
    return elements


def _read_element(view: memoryview, position: int, encoding: Encoding, depth: int) -> tuple[Element, int]:
    tag, vr, length, start = _element_header(view, position, encoding)
    nested = Encoding(implicit=True) if vr == "UN" else encoding  # PS3.5 §6.2.2 note 7
    if length == _UNDEFINED:
        end = _end_of_items(view, start, nested, depth)
        return Element(tag, vr, view[start : end - 8], True, nested), end
    if start + length > len(view):
        raise unreadable(tag)
    return Element(tag, vr, view[start : start + length], False, nested), start + length


def _element_header(view: memoryview, position: int, encoding: Encoding) -> tuple[int, str, int, int]:
    try:
        group, number = struct.unpack_from(encoding.order + "HH", view, position)
        tag = group << 16 | number
        if encoding.implicit or group == 0xFFFE:
            (length,) = struct.unpack_from(encoding.order + "L", view, position + 4)
            return tag, "", length, position + 8
        vr = bytes(view[position + 4 : position + 6]).decode("ascii")
        if vr in _LONG_VRS:
            (length,) = struct.unpack_from(encoding.order + "L", view, position + 8)
            return tag, vr, length, position + 12
        (length,) = struct.unpack_from(encoding.order + "H", view, position + 6)
    except (struct.error, UnicodeDecodeError):
        raise unreadable() from None
    if vr not in _SHORT_VRS:
        raise unreadable(tag)
    return tag, vr, length, position + 8


def _item_header(view: memoryview, position: int, encoding: Encoding) -> tuple[int, int, int]:
    tag, _, length, start = _element_header(view, position, encoding)
    if tag not in (_ITEM, _ITEM_END, _SEQUENCE_END) or (length != _UNDEFINED and start + length > len(view)):
        raise unreadable(tag)
    return tag, length, start


def _end_of_items(view: memoryview, position: int, encoding: Encoding, depth: int) -> int:
    """The position after the Sequence Delimitation Item; items of a sequence and fragments of Pixel Data alike."""
    if depth > _DEEPEST:
        raise unreadable()
    while True:
        tag, length, start = _item_header(view, position, encoding)
        if tag == _SEQUENCE_END:
            return start
        if tag != _ITEM:
            raise unreadable(tag)
        position = _end_of_item(view, start, encoding, depth + 1) if length == _UNDEFINED else start + length


def _end_of_item(view: memoryview, position: int, encoding: Encoding, depth: int) -> int:
    while True:
        tag, _, _, start = _element_header(view, position, encoding)
        if tag == _ITEM_END:
            return start
        _, position = _read_element(view, position, encoding, depth)


def write_element(tag: int, vr: str, value: bytes | memoryview, encoding: Encoding) -> list[bytes | memoryview]:
    """An element of defined length, padded to an even one (PS3.5 §6.2)."""
    padding = b"" if len(value) % 2 == 0 else b"\0" if vr in ("UI", "OB", "UN") else b" "
    return [_header(tag, vr, len(value) + len(padding), encoding), value, padding]


def write_fragments(element: Element, encoding: Encoding) -> list[bytes | memoryview]:
    """Encapsulated Pixel Data (PS3.5 §A.4), its fragments as they came."""
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return [_header(element.tag, "OB", _UNDEFINED, encoding), element.value, end]


def write_items(items: Iterable[bytes], encoding: Encoding) -> bytes:
    """The value of a sequence: items of defined length."""
    return b"".join(struct.pack(encoding.order + "HHL", 0xFFFE, 0xE000, len(item)) + item for item in items)


def _header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    group, number = tag >> 16, tag & 0xFFFF
    if encoding.implicit:
        return struct.pack(encoding.order + "HHL", group, number, length)
    if vr in _LONG_VRS:
        return struct.pack(encoding.order + "HH2sHL", group, number, vr.encode("ascii"), 0, length)
    return struct.pack(encoding.order + "HH2sH", group, number, vr.encode("ascii"), length)


def write_file(
    transfer_syntax: str,
    sop_class: str,
    sop_instance: str,
    implementation: tuple[str, str],
    data_set: Iterable[bytes | memoryview],
) -> bytes:
    """A Part 10 file with an empty preamble and a file meta of our own (PS3.10 §7.1)."""
    plain = Encoding()
    uids = (
        (0x00020002, sop_class),
        (0x00020003, sop_instance),
        (0x00020010, transfer_syntax),
        (0x00020012, implementation[0]),
    )
    parts = write_element(0x00020001, "OB", b"\x00\x01", plain)
    for tag, uid in uids:
        parts += write_element(tag, "UI", uid.encode("ascii"), plain)
    parts += write_element(0x00020013, "SH", implementation[1].encode("ascii"), plain)
    meta = b"".join(parts)
    length = b"".join(write_element(0x00020000, "UL", struct.pack("<L", len(meta)), plain))
    return b"".join([bytes(128), b"DICM", length, meta, *data_set])
