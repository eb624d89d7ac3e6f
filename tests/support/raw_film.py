"""CR and DX films written byte by byte: what a parser would refuse to write, a hospital's archive still holds.

Shares no code with the product and none with pydicom; PS3.5 §7.1 and PS3.10 §7.1.
"""

import struct
from dataclasses import dataclass, field

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG_2000, JPEG = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.70"
_LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
STUDY, SERIES, INSTANCE = "1.2.3.100", "1.2.3.200", "1.2.3.300"


@dataclass(frozen=True)
class Raw:
    """An element: value bytes, or items (lists of elements) of a sequence."""

    tag: int
    vr: str
    value: bytes = b""
    items: tuple[tuple["Raw", ...], ...] = ()
    undefined_length: bool = False


def text(tag: int, vr: str, value: str) -> Raw:
    return Raw(tag, vr, value.encode("utf-8"))


def short(tag: int, value: int) -> Raw:
    return Raw(tag, "US", struct.pack("<H", value))


def encode(element: Raw, implicit: bool = False, order: str = "<") -> bytes:
    value = element.value
    if element.vr == "SQ" or element.items:
        nested_implicit = implicit or element.vr == "UN"
        value = b"".join(_item(item, nested_implicit, order, element.undefined_length) for item in element.items)
        if element.undefined_length:
            value += struct.pack(order + "HHL", 0xFFFE, 0xE0DD, 0)
    elif len(value) % 2:
        value += b"\0" if element.vr in ("UI", "OB", "UN") else b" "
    if order == ">" and element.vr == "US":
        value = b"".join(value[at : at + 2][::-1] for at in range(0, len(value), 2))
    length = 0xFFFFFFFF if element.undefined_length else len(value)
    head = struct.pack(order + "HH", element.tag >> 16, element.tag & 0xFFFF)
    if implicit:
        return head + struct.pack(order + "L", length) + value
    if element.vr in _LONG:
        return head + element.vr.encode() + struct.pack(order + "HL", 0, length) + value
    return head + element.vr.encode() + struct.pack(order + "H", length) + value


def _item(elements: tuple[Raw, ...], implicit: bool, order: str, undefined: bool) -> bytes:
    content = b"".join(encode(element, implicit, order) for element in sorted(elements, key=lambda e: e.tag))
    if undefined:
        end = struct.pack(order + "HHL", 0xFFFE, 0xE00D, 0)
        return struct.pack(order + "HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + content + end
    return struct.pack(order + "HHL", 0xFFFE, 0xE000, len(content)) + content


def fragments(*codestreams: bytes) -> Raw:
    """Encapsulated Pixel Data with an empty Basic Offset Table (PS3.5 §A.4)."""
    items = (b"", *codestreams)
    value = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item for item in items)
    return Raw(0x7FE00010, "OB", value + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), undefined_length=True)


@dataclass
class Film:
    """A small film. `elements` overrides by tag; a value of None removes."""

    sop_class: str = CR
    transfer_syntax: str = EXPLICIT
    pixels: bytes = bytes(range(32))
    preamble: bytes = bytes(128)
    meta: tuple[Raw, ...] = ()
    after: bytes = b""  # bytes after Pixel Data
    elements: dict[int, Raw | None] = field(default_factory=dict)

    def put(self, *elements: Raw) -> "Film":
        self.elements.update({element.tag: element for element in elements})
        return self

    def without(self, *tags: int) -> "Film":
        self.elements.update(dict.fromkeys(tags))
        return self

    def to_bytes(self) -> bytes:
        implicit, order = self.transfer_syntax == IMPLICIT, ">" if self.transfer_syntax == BIG else "<"
        found: dict[int, Raw | None] = {element.tag: element for element in self._usual()} | self.elements
        data_set = b"".join(encode(found[tag], implicit, order) for tag in sorted(found) if found[tag] is not None)  # type: ignore[arg-type]
        uids = [
            text(0x00020002, "UI", self.sop_class),
            text(0x00020003, "UI", INSTANCE),
            text(0x00020010, "UI", self.transfer_syntax),
        ]
        meta = b"".join(encode(element) for element in sorted([*uids, *self.meta], key=lambda e: e.tag))
        length = encode(Raw(0x00020000, "UL", struct.pack("<L", len(meta))))
        return self.preamble + b"DICM" + length + meta + data_set + self.after

    def _usual(self) -> list[Raw]:
        return [
            text(0x00080008, "CS", "ORIGINAL\\PRIMARY"),
            text(0x00080016, "UI", self.sop_class),
            text(0x00080018, "UI", INSTANCE),
            text(0x00080020, "DA", "20230308"),
            text(0x00080030, "TM", "101112.5"),
            text(0x00080050, "SH", "ACANARY1"),
            text(0x00080060, "CS", "CR" if self.sop_class == CR else "DX"),
            text(0x00080090, "PN", "CANARY^REFERRER"),
            text(0x00100010, "PN", "CANARY^ZEBRA"),
            text(0x00100020, "LO", "CANARY-1"),
            text(0x00100030, "DA", "20200304"),
            text(0x00100040, "CS", "F"),
            text(0x0020000D, "UI", STUDY),
            text(0x0020000E, "UI", SERIES),
            text(0x00200013, "IS", "1"),
            short(0x00280002, 1),
            text(0x00280004, "CS", "MONOCHROME2"),
            short(0x00280010, 4),
            short(0x00280011, 4),
            short(0x00280100, 16),
            short(0x00280101, 12),
            short(0x00280102, 11),
            short(0x00280103, 0),
            Raw(0x7FE00010, "OW", self.pixels),
        ]
