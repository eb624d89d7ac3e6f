"""What may be DICOM in a file, whatever its name: the file itself, or the members of a zip file; each as a file of PS3.10."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from fhir_bridge.adapters.dicom_zip import UnusableZip, is_zip, opened_member, opened_zip
from fhir_bridge.adapters.part10 import NotDicom, as_part10

THE_FILE = -1  # in the place of a member's number: the file itself
_OF_FSCK = "lost+found"  # which only root may read
_UNFINISHED = (".part", ".partial", ".tmp")  # names under which copying programs write; a leading dot is another


@dataclass(frozen=True, slots=True)
class Piece:
    """`file` is at its start; None where this is no DICOM, or, with `trouble`, cannot be read. `name` is that within a zip file."""

    member: int
    name: str = ""
    file: BinaryIO | None = None
    trouble: str = ""


def files_below(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files, however deep, but those still being written by their names. Links are not followed. Raises OSError."""
    with os.scandir(folder) as entries:
        waiting = list(entries)
    while waiting:
        entry = waiting.pop()
        if entry.name.startswith(".") or entry.name == _OF_FSCK:
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                with os.scandir(entry.path) as entries:
                    waiting += entries
            elif entry.is_file(follow_symlinks=False) and not entry.name.lower().endswith(_UNFINISHED):
                yield entry.path, entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # renamed or removed since it was listed: found under its new name at the next look


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A regular file, never through a link that took its place. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        yield file


def pieces_of(file: BinaryIO) -> Iterator[Piece]:
    """The pieces of an open file, one after the other: each is done with before the next is asked for. Raises OSError."""
    head = file.read(4)
    if not is_zip(head):
        yield _piece(file, THE_FILE, "")
        return
    try:
        archive = opened_zip(file)
    except UnusableZip as trouble:
        yield Piece(THE_FILE, trouble=str(trouble))
        return
    with archive:
        for number, member in enumerate(archive.infolist()):
            try:
                unpacked = opened_member(archive, number)
            except UnusableZip as trouble:
                yield Piece(number, member.filename, trouble=str(trouble))
                continue
            if unpacked is not None:
                yield _piece(unpacked, number, member.filename)


def chosen_of(file: BinaryIO, members: list[int]) -> Iterator[BinaryIO]:
    """These pieces of a file, each as a file of PS3.10. Raises OSError, NotDicom, UnusableZip."""
    if members == [THE_FILE]:
        yield as_part10(file)
        return
    with opened_zip(file) as archive:
        for number in members:
            unpacked = opened_member(archive, number)
            if unpacked is None:
                raise NotDicom
            yield as_part10(unpacked)


def _piece(file: BinaryIO, member: int, name: str) -> Piece:
    try:
        return Piece(member, name, as_part10(file))
    except NotDicom:
        return Piece(member, name)
