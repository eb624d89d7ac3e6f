"""The few header values by which an instance is listed, joined and compared, read without pydicom's own value checks.

pydicom warns about an odd value by printing it, and a patient's value must reach no log: values are taken raw.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

_CHARACTER_SET = "SpecificCharacterSet"
_PIXEL_DATA = {0x7FE00008, 0x7FE00009, 0x7FE00010}  # Float, Double Float, Pixel Data (PS3.6)
_ITEM, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)  # PS3.5 §7.5
_UNDEFINED = 0xFFFFFFFF

# What pydicom raises on broken bytes. Its text quotes them, and is dropped.
_BROKEN = (
    *(InvalidDicomError, EOFError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError),
    *(struct.error, zlib.error),
)


class UnreadableInstance(Exception):
    """Not a whole DICOM file (PS3.10 §7.1): no header, a broken one, or less pixel data than it declares."""


def read_header(path: Path, keywords: Iterable[str]) -> Mapping[str, str]:
    """The values of these attributes, stripped; empty where absent. Raises UnreadableInstance, OSError."""
    with path.open("rb") as file:
        return read_header_from(file, keywords)


def read_header_from(file: BinaryIO, keywords: Iterable[str]) -> Mapping[str, str]:
    """The same, from an open file, of which only the header is read."""
    wanted = tuple(keywords)
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[_CHARACTER_SET, "Rows", *wanted])
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax is None:
            raise UnreadableInstance("no transfer syntax")
        if syntax != DeflatedExplicitVRLittleEndian:  # pydicom has inflated that one whole
            implicit, little_endian = dataset.original_encoding  # as found, which is not always as declared
            has_pixels = _check_pixels_are_whole(file, "<" if little_endian else ">", implicit)
            if "Rows" in dataset and not has_pixels:
                raise UnreadableInstance("an image without pixel data")
        utf8 = "192" in _text(dataset, _CHARACTER_SET, "ascii")
        return {keyword: _text(dataset, keyword, "utf-8" if utf8 else "latin-1") for keyword in wanted}
    except _BROKEN:
        raise UnreadableInstance("broken header") from None


def _text(dataset: pydicom.Dataset, keyword: str, encoding: str) -> str:
    """A wrong guess at the encoding can only make two values differ, never make them equal."""
    element: Any = dataset.get_item(keyword)
    value = b"" if element is None or element.value is None else element.value
    text = value.decode(encoding, "replace") if isinstance(value, bytes) else str(value)
    return text.strip(" \0")


def _check_pixels_are_whole(file: BinaryIO, order: str, implicit: bool) -> bool:
    """The file stands at its pixel data, or at its end: is there as much as the elements declare (PS3.5 §7.1, §A.4)?

    False where there is no pixel data.
    """
    start = file.tell()
    size = file.seek(0, 2)
    if start > size:  # the last element was skipped by its declared length
        raise UnreadableInstance("less than declared")
    if start == size:
        return False
    file.seek(start)
    head = file.read(8 if implicit else 12)
    group, element = struct.unpack(f"{order}HH", head[:4])
    if Tag(group, element) not in _PIXEL_DATA:
        raise UnreadableInstance("stopped before the pixel data")
    (length,) = struct.unpack(f"{order}I", head[-4:])
    if length == _UNDEFINED:
        _check_fragments(file)
    elif file.tell() + length > size:
        raise UnreadableInstance("less pixel data than declared")
    return True


def _check_fragments(file: BinaryIO) -> None:
    """Walks over encapsulated fragments to their delimiter; always little endian."""
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise UnreadableInstance("encapsulated pixel data without its end")
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == _DELIMITER:
            return
        if (group, element) != _ITEM:
            raise UnreadableInstance("not a fragment")
        file.seek(length, 1)
