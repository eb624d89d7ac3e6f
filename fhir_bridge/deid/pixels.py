"""The pixel policy for CR and DX (facts of PS3.15 §E.3.1, Clean Pixel Data): which pixels may cross untouched.

An original, primary image without burned-in annotation crosses as it is; whatever else might hold words in its pixels waits
for a person. Raises Refused `deid.burned-in-annotation`, `deid.pixels-unverified`, `deid.dicom-unreadable`.
"""

import struct
from collections.abc import Mapping

from fhir_bridge.deid.codestream import may_hold_words
from fhir_bridge.deid.elements import PIXEL_DATA, Element, Encoding, unreadable, write_element, write_fragments
from fhir_bridge.deid.gates import plain_text
from fhir_bridge.errors import Refused

_ROWS, _COLUMNS, _SAMPLES, _BITS_ALLOCATED, _FRAMES = 0x00280010, 0x00280011, 0x00280002, 0x00280100, 0x00280008
_IMAGE_TYPE, _BURNED_IN, _PHOTOMETRIC = 0x00080008, 0x00280301, 0x00280004
_GREY = ("MONOCHROME1", "MONOCHROME2")
_OVERLAY_GROUPS = frozenset(range(0x6000, 0x6020, 2))  # PS3.5 §7.6


def check_pixels(elements: Mapping[int, Element]) -> None:
    """Refuse an image whose pixels may show who the patient is."""
    burned_in = _text(elements, _BURNED_IN)
    if burned_in not in ("", "NO"):
        raise Refused("deid.burned-in-annotation", "0028,0301", "the image says that its pixels hold identifying text")
    image_type = [part.strip() for part in _text(elements, _IMAGE_TYPE).split("\\")]
    if image_type[:2] != ["ORIGINAL", "PRIMARY"]:
        raise _unverified(_IMAGE_TYPE, "only original primary images cross unseen")
    if _text(elements, _PHOTOMETRIC) not in _GREY or _number(elements, _SAMPLES) != 1:
        raise _unverified(_PHOTOMETRIC, "a CR or DX image is greyscale")
    if _text(elements, _FRAMES) not in ("", "1"):
        raise _unverified(_FRAMES, "a CR or DX image has one frame")
    _check_overlays(elements)


def _check_overlays(elements: Mapping[int, Element]) -> None:
    """A retired overlay lies in the unused bits of the pixels (PS3.3-2004 §C.9.2), where removing the group does not reach it."""
    for group in {tag >> 16 for tag in elements} & _OVERLAY_GROUPS:
        if (group << 16 | 0x3000) not in elements:
            raise _unverified(group << 16 | 0x0010, "an overlay lies in the unused bits of the pixels")


def write_pixels(elements: Mapping[int, Element], encoding: Encoding) -> list[bytes | memoryview]:
    """Pixel Data as it came; a native one is cut to the size of the image, since what follows is no pixel."""
    element = elements.get(PIXEL_DATA)
    if element is None:
        raise unreadable(PIXEL_DATA)
    if element.undefined_length:
        _check_fragments(element)
        return write_fragments(element, encoding)
    bits = _number(elements, _ROWS) * _number(elements, _COLUMNS) * _number(elements, _BITS_ALLOCATED)
    size = (bits + 7) // 8
    if not 0 < size <= len(element.value):
        raise unreadable(PIXEL_DATA)
    vr = "OB" if element.vr == "OB" else "OW"
    return write_element(PIXEL_DATA, vr, element.value[:size], encoding)


def _check_fragments(element: Element) -> None:
    """The Basic Offset Table of one frame, and the frame's codestream."""
    offsets, *fragments = _fragments(element.value)
    if len(offsets) not in (0, 4) or not fragments:
        raise unreadable(PIXEL_DATA)
    if may_hold_words(b"".join(fragments)):
        raise _unverified(PIXEL_DATA, "the compressed image may carry words beside its pixels")


def _fragments(value: memoryview) -> list[memoryview]:
    found, position = [], 0
    while position + 8 <= len(value):
        tag, length = struct.unpack_from("<4sL", value, position)
        if tag != b"\xfe\xff\x00\xe0" or position + 8 + length > len(value):
            raise unreadable(PIXEL_DATA)
        found.append(value[position + 8 : position + 8 + length])
        position += 8 + length
    if not found or position != len(value):
        raise unreadable(PIXEL_DATA)
    return found


def _unverified(tag: int, explanation: str) -> Refused:
    return Refused("deid.pixels-unverified", f"{tag >> 16:04X},{tag & 0xFFFF:04X}", explanation)


def _text(elements: Mapping[int, Element], tag: int) -> str:
    element = elements.get(tag)
    if element is None:
        return ""
    text = plain_text(element)
    if text is None:
        raise unreadable(tag)
    return text


def _number(elements: Mapping[int, Element], tag: int) -> int:
    element = elements.get(tag)
    if element is None or len(element.value) != 2:
        raise unreadable(tag)
    return int.from_bytes(element.value, "little" if element.encoding.little else "big")
