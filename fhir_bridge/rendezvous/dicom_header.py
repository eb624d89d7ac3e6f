"""The few header values by which an instance is listed, joined and compared, read without pydicom's own value checks.

pydicom warns about an odd value by printing it, and a patient's value must reach no log: values are taken raw.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

T = TypeVar("T")

_CHARACTER_SET = "SpecificCharacterSet"
_PIXEL_DATA = {0x7FE00008, 0x7FE00009, 0x7FE00010}  # Float, Double Float, Pixel Data (PS3.6)
_ITEM, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)  # PS3.5 §7.5
_UNDEFINED = 0xFFFFFFFF
_MOST_INFLATED = 1 << 30  # of a deflated file, which pydicom inflates whole; the largest seen have a tenth
_META_START = 132  # of the group length (0002,0000), a UL

# What pydicom raises on broken bytes. Its text quotes them, and is dropped.
_BROKEN = (
    *(
        InvalidDicomError,
        BytesLengthException,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        NotImplementedError,
    ),
    *(struct.error, zlib.error, RecursionError),
)


class UnreadableInstance(Exception):
    """Not a whole DICOM file (PS3.10 §7.1): no header, a broken one, or less pixel data than it declares."""


def read_header(path: Path, keywords: Iterable[str]) -> Mapping[str, str]:
    """The values of these attributes, stripped; empty where absent. Raises UnreadableInstance, OSError."""
    with path.open("rb") as file:
        return read_header_from(file, keywords)


def read_header_from(file: BinaryIO, keywords: Iterable[str]) -> Mapping[str, str]:
    """The same, from an open file, of which only the header is read."""
    return _values(file, tuple(keywords), is_whole=True)


def read_torn_header_from(file: BinaryIO, keywords: Iterable[str]) -> Mapping[str, str]:
    """The same of a file that may be cut short: the values that are there. Raises UnreadableInstance, OSError."""
    return _values(file, tuple(keywords), is_whole=False)


def read_dataset_from(file: BinaryIO, keywords: Iterable[str]) -> pydicom.Dataset:
    """These attributes of a whole file, still raw, behind its file meta information. Raises UnreadableInstance, OSError."""
    return attempt_to_read(lambda: _whole(file, _dataset(file, [*keywords, "Rows"])))


def _values(file: BinaryIO, wanted: tuple[str, ...], *, is_whole: bool) -> Mapping[str, str]:
    def read() -> Mapping[str, str]:
        dataset = _dataset(file, [_CHARACTER_SET, "Rows", *wanted])
        if is_whole:
            _whole(file, dataset)
        utf8 = "192" in _text(dataset, _CHARACTER_SET, "ascii")
        return {keyword: _text(dataset, keyword, "utf-8" if utf8 else "latin-1") for keyword in wanted}

    return attempt_to_read(read)


def _dataset(file: BinaryIO, keywords: list[str]) -> pydicom.Dataset:
    _check_inflated_size(file)
    dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(keywords))
    if dataset.file_meta.get("TransferSyntaxUID") is None:
        raise UnreadableInstance("no transfer syntax")
    return dataset


def _whole(file: BinaryIO, dataset: pydicom.Dataset) -> pydicom.Dataset:
    """The same, where the file behind its header is as long as it says."""
    if dataset.file_meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:  # pydicom has inflated that one whole
        implicit, little_endian = dataset.original_encoding  # as found, which is not always as declared
        has_pixels = _check_pixels_are_whole(file, "<" if little_endian else ">", implicit)
        if "Rows" in dataset and not has_pixels:
            raise UnreadableInstance("an image without pixel data")
    return dataset


def _check_inflated_size(file: BinaryIO) -> None:
    """A deflated file (PS3.5 §A.5) that would fill the memory is not read."""
    start = file.tell()
    head = file.read(2048)
    if str(DeflatedExplicitVRLittleEndian).encode() in head:
        (length,) = struct.unpack("<I", head[_META_START + 8 : _META_START + 12])
        file.seek(start + _META_START + 12 + length)
        inflater, inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := inflater.unconsumed_tail or file.read(1 << 16):
            inflated += len(inflater.decompress(chunk, 1 << 20))
            if inflated > _MOST_INFLATED:
                raise UnreadableInstance("inflates to more than is taken")
            if inflater.eof:
                break
    file.seek(start)


def attempt_to_read(read: Callable[[], T]) -> T:
    """What `read` makes of a file by pydicom. Raises UnreadableInstance for whatever that raises on broken bytes; OSError."""
    try:
        return read()
    except _BROKEN:
        raise UnreadableInstance("broken header") from None
    except OSError as error:
        if error.errno is None:  # pydicom's own, of a sequence that is not whole
            raise UnreadableInstance("broken header") from None
        raise


def raw_text(dataset: pydicom.Dataset, keyword: str) -> str:
    """The value of a text attribute in the default repertoire, stripped; empty where absent."""
    return _text(dataset, keyword, "latin-1")


def raw_number(dataset: pydicom.Dataset, keyword: str) -> int:
    """The value of an attribute of VR US or UL; 0 where absent, or of another length."""
    element: Any = dataset.get_item(keyword)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        order = "<" if element.is_little_endian else ">"
        form = {2: "H", 4: "I"}.get(len(value))
        return int(struct.unpack(order + form, value)[0]) if form else 0
    return value if isinstance(value, int) else 0


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
