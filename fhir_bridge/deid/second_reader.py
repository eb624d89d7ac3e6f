"""pydicom as the second, independent reader: it sees de-identified files only, since its log and warnings quote values."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError

PYDICOM_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    struct.error,
)


def read_back(content: bytes) -> Any:
    """A pydicom data set with its file meta. Raises PYDICOM_ERRORS."""
    return pydicom.dcmread(io.BytesIO(content))


def all_leaves(data_set: Any) -> list[tuple[int, str, bytes]]:
    """(tag, VR, raw value) of every element of file and file meta that is no sequence."""
    return [*_leaves(data_set.file_meta), *(leaf for item in all_items(data_set) for leaf in _leaves(item))]


def all_tags(data_set: Any) -> Iterator[int]:
    """The tags at every depth, sequences included."""
    return (int(tag) for item in all_items(data_set) for tag in item.keys())  # noqa: SIM118 - iterating a Dataset converts values


def all_items(data_set: Any) -> Iterator[Any]:
    """The data set and every item of its sequences."""
    yield data_set
    for tag in list(data_set.keys()):
        if _vr_of(data_set.get_item(tag), int(tag)) == "SQ":
            for item in data_set[tag].value:
                yield from all_items(item)


def _leaves(data_set: Any) -> Iterator[tuple[int, str, bytes]]:
    for tag in list(data_set.keys()):
        element = data_set.get_item(tag)
        vr = _vr_of(element, int(tag))
        if vr == "SQ":
            continue
        if isinstance(element, RawDataElement):
            yield int(tag), vr, bytes(element.value or b"")
        else:
            yield int(tag), vr, element.value if isinstance(element.value, bytes) else str(element.value).encode()


def _vr_of(element: Any, tag: int) -> str:
    if element.VR not in (None, "UN"):
        return str(element.VR)
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "UN"
