"""Files that are DICOM without the preamble of PS3.10 §7.1, as some exports and old scanners leave them: what is missing is put in front.

Two kinds are surely DICOM: those that begin with their file meta information, and those that begin with group 0008 in little endian
and name a SOP Class, an instance and a study. Whatever else has no preamble is no DICOM.
"""

import io
import struct
from typing import BinaryIO

from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fhir_bridge.rendezvous.dicom_header import UnreadableInstance, read_header_from

_PREFIX_OFFSET, _PREFIX = 128, b"DICM"
_PREAMBLE = bytes(_PREFIX_OFFSET) + _PREFIX
_HEAD_BYTES = _PREFIX_OFFSET + len(_PREFIX)
_META_VRS = (b"UL", b"OB", b"UI")  # of the first elements of group 0002
_FIRST_VRS = (b"UL", b"CS", b"DA", b"TM", b"UI")  # of the first elements of group 0008
_LAST_FIRST_ELEMENT = 0x0018  # SOP Instance UID, which is always there
_LONGEST_FIRST_VALUE = 1024  # Image Type has up to 16 values of 16 characters and more in the wild
_STANDARD_CLASSES = "1.2.840.10008."
_COMPRESSED = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff"  # Pixel Data of undefined length


class NotDicom(Exception):
    """Neither a file of PS3.10 nor surely one without its preamble."""


def as_part10(file: BinaryIO) -> BinaryIO:
    """The file from its start; where its preamble is missing, a view with one in front. Raises NotDicom, OSError."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head[_PREFIX_OFFSET:] == _PREFIX:
        return file
    if head[:2] == b"\x02\x00" and head[4:6] in _META_VRS:
        return _behind(_PREAMBLE, file)
    return _behind(_made_meta(head, file), file)


def _made_meta(head: bytes, file: BinaryIO) -> bytes:
    """Preamble and file meta information of a bare dataset. Which compression was used nobody says then: such a file is not taken."""
    syntax = _plain_syntax(head)
    if syntax is None:
        raise NotDicom
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    keywords = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
    try:
        values = read_header_from(_behind(_written(meta, complete=False), file), keywords)
    except UnreadableInstance:
        raise NotDicom from None
    if not all(values.values()) or not values["SOPClassUID"].startswith(_STANDARD_CLASSES) or _is_compressed(file):
        raise NotDicom
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = values["SOPClassUID"], values["SOPInstanceUID"]
    return _written(meta, complete=True)


def _plain_syntax(head: bytes) -> str | None:
    if len(head) < 8 or head[:2] != b"\x08\x00" or struct.unpack("<H", head[2:4])[0] > _LAST_FIRST_ELEMENT:
        return None
    if head[4:6] in _FIRST_VRS:
        return str(ExplicitVRLittleEndian)
    is_short = struct.unpack("<I", head[4:8])[0] <= _LONGEST_FIRST_VALUE
    return str(ImplicitVRLittleEndian) if is_short else None


def _is_compressed(file: BinaryIO) -> bool:
    """Pixel data of undefined length (PS3.5 §A.4), anywhere."""
    file.seek(0)
    overlap = b""
    while chunk := file.read(1 << 20):
        window = overlap + chunk
        if _COMPRESSED in window:
            return True
        overlap = window[-len(_COMPRESSED) :]
    return False


def _written(meta: FileMetaDataset, *, complete: bool) -> bytes:
    buffer = io.BytesIO()
    buffer.write(_PREAMBLE)
    write_file_meta_info(buffer, meta, enforce_standard=complete)
    return buffer.getvalue()


def _behind(prefix: bytes, file: BinaryIO) -> BinaryIO:
    return io.BufferedReader(_Prefixed(prefix, file))


class _Prefixed(io.RawIOBase):
    """Bytes, then a file. Closing it leaves the file open."""

    name = ""  # pydicom asks a buffered file for it

    def __init__(self, prefix: bytes, file: BinaryIO) -> None:
        super().__init__()
        self._prefix, self._file = prefix, file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer)  # type: ignore[arg-type]
        if self._position < len(self._prefix):
            chunk = self._prefix[self._position : self._position + len(target)]
        else:
            self._file.seek(self._position - len(self._prefix))
            chunk = self._file.read(len(target))
        target[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset += len(self._prefix) + self._file.seek(0, io.SEEK_END)
        elif whence == io.SEEK_CUR:
            offset += self._position
        self._position = max(0, offset)
        return self._position
