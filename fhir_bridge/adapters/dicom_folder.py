"""A folder of DICOM files, of any layout and names, as an archive: the embedded default."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from fhir_bridge.adapters.dicom_pieces import chosen_of, files_below, opened, pieces_of
from fhir_bridge.adapters.dicom_zip import BROKEN, UnusableZip
from fhir_bridge.adapters.dicomdir import Named, instances_named
from fhir_bridge.adapters.part10 import NotDicom
from fhir_bridge.adapters.study_files import Header, NoInstance, StudyFiles, read_instance, stripped
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.rendezvous.dicom_header import UnreadableInstance, read_torn_header_from
from fhir_bridge.study import InstanceRef, StudyQuery

_WHERE = "archive folder"
_CHUNK_BYTES = 1 << 20
_CHEAP_SECONDS = 0.01  # of CPU: so long may every look take
_REST = 100  # times what a look took


@dataclass(frozen=True, slots=True)
class _Found:
    """A whole instance, and where in its file it is: see `dicom_pieces`."""

    header: Header
    member: int


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a file holds. `promised`: instances that a DICOMDIR names, or whose file is cut short."""

    found: tuple[_Found, ...] = ()
    promised: tuple[Named, ...] = ()
    broken: bool = False  # DICOM or a zip file, and not whole


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of a file and what it holds."""

    size: int
    modified_ns: int
    contents: _Contents
    settled: bool = False  # looked at twice

    def is_of(self, status: os.stat_result) -> bool:
        return (self.size, self.modified_ns) == (status.st_size, status.st_mtime_ns)


_Listed = tuple[str, _Version, _Found]


@dataclass(slots=True)
class DicomFolder:
    """The port `ImageArchive` over a folder. Headers are read once per version of a file (path, size, mtime). Thread-safe.

    Files without a preamble count where they are surely DICOM (`part10`), and zip files are folders (`dicom_zip`). Links are ignored:
    what they lead to lies in the folder and is found there, or lies outside. So are files still being written: their names end in
    `.part`, `.partial` or `.tmp` or begin with a dot, or less is there than their header declares; while one of a study is there that
    is cut short, or a DICOMDIR names an instance that is not, the study is not retrieved.

    A look at a folder of many thousand files that shows nothing new is good for a hundred times as long as it took: waiting jobs cost
    a hundredth of a core, however many. `retrieve` looks anew, and so does the first call after it.
    Raises Unavailable `archive.unavailable`, `archive.incomplete`, `archive.storage-failed`; Refused `archive.query-empty`,
    `archive.conflicting-instances`, `archive.corrupt`.
    """

    folder: Path
    _index: dict[str, _Version] = field(default_factory=dict, init=False, repr=False)
    _studies: dict[str, list[_Listed]] = field(default_factory=dict, init=False, repr=False)  # of the index
    _good_until: float = field(default=0.0, init=False, repr=False)  # by time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def unreadable(self) -> int:
        """How many files begin as DICOM, or as a zip file, and were not whole over two looks: broken, not just arriving."""
        with self._lock:
            return sum(version.contents.broken and version.settled for version in self._index.values())

    def find_studies(self, query: StudyQuery) -> tuple[str, ...]:
        query = stripped(query)
        if query.study_instance_uid:
            return (query.study_instance_uid,) if self._study(query.study_instance_uid) else ()
        studies = self._look().items()
        return tuple(
            sorted(uid for uid, listed in studies if any(found.header.answers(query) for _, _, found in listed))
        )

    def list_instances(self, study_instance_uid: str) -> tuple[InstanceRef, ...]:
        instances = (found.header.instance for _, _, found in self._study(study_instance_uid))
        return tuple({instance.sop_instance_uid: instance for instance in instances}.values())

    def retrieve(self, study_instance_uid: str, into: Path) -> tuple[Path, ...]:
        """Copies of the very versions that were listed: a file changed meanwhile makes the study incomplete."""
        self._forget_look()
        try:
            return self._retrieve(study_instance_uid, into)
        finally:
            self._forget_look()

    def _retrieve(self, study_instance_uid: str, into: Path) -> tuple[Path, ...]:
        listed = self._study(study_instance_uid)
        instances = [found.header.instance for _, _, found in listed]
        self._check_promises(study_instance_uid, instances)
        with StudyFiles(into, study_instance_uid) as files:
            for (path, version), group in groupby(listed, key=lambda of: of[:2]):
                for chunks in _content(path, version, [found.member for _, _, found in group]):
                    files.add(chunks)
            return files.finish(instances)

    def ping(self) -> None:
        """Raises Unavailable where the folder cannot be read."""
        try:
            with os.scandir(self.folder) as entries:
                next(entries, None)
        except OSError as error:
            raise _unavailable(error) from None

    def _check_promises(self, study_instance_uid: str, instances: list[InstanceRef]) -> None:
        with self._lock:
            promised = {
                instance
                for version in self._index.values()
                for study, instance in version.contents.promised
                if study == study_instance_uid
            }
        if missing := promised - {instance.sop_instance_uid for instance in instances}:
            explanation = (
                f"{len(missing)} instances are in files cut short, or are named by a DICOMDIR and are not there"
            )
            raise Unavailable("archive.incomplete", _WHERE, explanation)

    def _study(self, study_instance_uid: str) -> list[_Listed]:
        """By path, and in a zip file in its order."""
        return self._look().get(study_instance_uid, [])

    def _forget_look(self) -> None:
        with self._lock:
            self._good_until = 0.0

    def _look(self) -> dict[str, list[_Listed]]:
        """Every whole instance by study; new and changed files are read, the others are remembered."""
        with self._lock:
            if time.monotonic() < self._good_until:
                return self._studies
            began = time.thread_time()
            try:
                files = files_below(os.path.realpath(self.folder))
                index = {path: self._version(path, status) for path, status in files}
            except OSError as error:
                raise _unavailable(error) from None
            is_news = index != self._index
            self._index = index
            if is_news:
                self._studies = _by_study(index)
            took = time.thread_time() - began
            self._good_until = 0.0 if is_news or took < _CHEAP_SECONDS else time.monotonic() + took * _REST
            return self._studies

    def _version(self, path: str, status: os.stat_result) -> _Version:
        known = self._index.get(path)
        if known is None or not known.is_of(status):
            return _Version(status.st_size, status.st_mtime_ns, _read(path))
        return known if known.settled else replace(known, settled=True)


def _by_study(index: dict[str, _Version]) -> dict[str, list[_Listed]]:
    studies: dict[str, list[_Listed]] = {}
    for path, version in sorted(index.items(), key=itemgetter(0)):
        for found in version.contents.found:
            studies.setdefault(found.header.study_instance_uid, []).append((path, version, found))
    return studies


def _read(path: str) -> _Contents:
    """Of a file that went away meanwhile nothing; one that cannot be read is broken."""
    found: list[_Found] = []
    promised: list[Named] = []
    broken = False
    try:
        with opened(path) as file:
            for piece in pieces_of(file):
                if piece.file is None:
                    broken |= bool(piece.trouble)
                    continue
                try:
                    found.append(_Found(_compact(read_instance(piece.file)), piece.member))
                except NoInstance:
                    promised += instances_named(piece.file)
                except UnreadableInstance:
                    broken = True
                    promised += _torn(piece.file)
    except FileNotFoundError:
        return _Contents()
    except (*BROKEN, OSError):
        broken = True
    return _Contents(tuple(found), tuple(promised), broken)


def _compact(header: Header) -> Header:
    """Thousands of instances share these strings."""
    instance = header.instance
    shared = (instance.sop_class_uid, instance.series_instance_uid, instance.modality)
    return Header(
        InstanceRef(instance.sop_instance_uid, *(sys.intern(text) for text in shared)),
        sys.intern(header.study_instance_uid),
        sys.intern(header.accession),
    )


def _torn(file: BinaryIO) -> list[Named]:
    """Which instance a file that is cut short would be, as far as its header goes."""
    file.seek(0)
    try:
        values = read_torn_header_from(file, ("StudyInstanceUID", "SOPInstanceUID"))
    except UnreadableInstance:
        return []
    study, instance = values.values()
    return [(study, instance)] if study and instance else []


def _content(path: str, version: _Version, members: list[int]) -> Iterator[Iterator[bytes]]:
    """The bytes of these instances in this version of a file."""
    try:
        with opened(path) as file:
            for piece in chosen_of(file, members):
                yield _chunks(piece)
            unchanged = version.is_of(os.fstat(file.fileno()))
    except (OSError, UnusableZip, NotDicom):
        unchanged = False
    if not unchanged:
        raise Unavailable("archive.incomplete", _WHERE, "a file went away or changed since it was listed")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    except BROKEN:
        raise Refused("archive.corrupt", _WHERE, "a damaged member of a zip file") from None
    except OSError:
        raise Unavailable("archive.incomplete", _WHERE, "a file went away or changed since it was listed") from None


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable("archive.unavailable", _WHERE, os.strerror(error.errno or 0))
