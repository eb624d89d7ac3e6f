"""A zip file as a folder of DICOM files, read where it lies: nothing is unpacked to the disk, and no name in it becomes a path.

What a small file may blow up to is bounded before a byte is unpacked: the sizes that the directory declares, which `zipfile` keeps to.
"""

import io
import os
import struct
import zipfile
import zlib
from typing import BinaryIO

MOST_MEMBERS = 100_000
MOST_BYTES = 64 << 30  # of all members
MOST_RATIO = 200  # of all members to the file: images of a study are packed to a tenth at best
_SMALL_BYTES = 64 << 20  # so much is never a bomb, and is held in memory while it is read
_MOST_DIRECTORY = 64 << 20
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_BYTES, _LOCATOR_BYTES, _COMMENT_BYTES = 22, 20, 0xFFFF
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others take memory as the file says

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)


class UnusableZip(Exception):
    """Not whole, or more than we unpack. Its text is free of names."""


def is_zip(head: bytes) -> bool:
    """By the first four bytes: a member, or the end of an empty one."""
    return head[:4] in (b"PK\x03\x04", _END)


def opened_zip(file: BinaryIO) -> zipfile.ZipFile:
    """Raises UnusableZip, OSError."""
    size = file.seek(0, os.SEEK_END)
    _check_directory(file, size)
    try:
        archive = zipfile.ZipFile(file)
    except (*BROKEN, OSError):  # the second of offsets before the beginning
        raise UnusableZip("a zip file that is not whole") from None
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if len(members) > MOST_MEMBERS or unpacked > min(MOST_BYTES, max(_SMALL_BYTES, MOST_RATIO * size)):
        raise UnusableZip("a zip file that would unpack to more than is taken")
    return archive


def opened_member(archive: zipfile.ZipFile, number: int) -> BinaryIO | None:
    """The member, seekable, its checksum proven where it is small; None for a folder. Raises UnusableZip, OSError."""
    member = archive.infolist()[number]
    if not member.filename or member.is_dir():
        return None
    if member.flag_bits & 1 or member.compress_type not in _METHODS:
        raise UnusableZip("encrypted, or packed in an unusual way")
    try:
        file = archive.open(member)
        return io.BytesIO(file.read()) if member.file_size <= _SMALL_BYTES else file  # type: ignore[return-value]
    except (*BROKEN, OSError):
        raise UnusableZip("a damaged member of a zip file") from None


def _check_directory(file: BinaryIO, size: int) -> None:
    """`zipfile` reads the directory whole: how large does it say that it is?"""
    file.seek(max(0, size - _END_BYTES - _COMMENT_BYTES - _LOCATOR_BYTES))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + _END_BYTES:
        raise UnusableZip("a zip file that is not whole")
    (directory,) = struct.unpack("<I", tail[end + 12 : end + 16])
    locator = tail[max(0, end - _LOCATOR_BYTES) : end]
    if locator.startswith(_LOCATOR64):
        file.seek(min(size, struct.unpack("<Q", locator[8:16])[0]))
        record = file.read(56)
        if len(record) < 56 or not record.startswith(_END64):
            raise UnusableZip("a zip file that is not whole")
        (directory,) = struct.unpack("<Q", record[40:48])
    if directory > _MOST_DIRECTORY:
        raise UnusableZip("a zip file with too large a directory")
