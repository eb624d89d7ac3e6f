"""A folder of DICOM files, of any layout and names, as an archive: the embedded default."""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fhir_bridge.adapters.study_files import Header, NoInstance, StudyFiles, read_instance, stripped
from fhir_bridge.errors import Unavailable
from fhir_bridge.rendezvous.dicom_header import UnreadableInstance
from fhir_bridge.study import InstanceRef, StudyQuery

_WHERE = "archive folder"
_UNFINISHED = (".part", ".partial", ".tmp")  # names under which copying programs write; a leading dot is another
_CHUNK_BYTES = 1 << 20
_PREFIX_OFFSET, _PREFIX = 128, b"DICM"  # PS3.10 §7.1


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of a file and what it holds."""

    size: int
    modified_ns: int
    header: Header | None = None  # None where it is no whole instance
    broken: bool = False  # begins as DICOM, and is no whole instance
    settled: bool = False  # looked at twice

    def is_of(self, status: os.stat_result) -> bool:
        return (self.size, self.modified_ns) == (status.st_size, status.st_mtime_ns)


@dataclass(slots=True)
class DicomFolder:
    """The port `ImageArchive` over a folder. Headers are read once per version of a file (path, size, mtime). Thread-safe.

    Links are ignored: what they lead to lies in the folder and is found there, or lies outside. So are files still being written:
    their names end in `.part`, `.partial` or `.tmp` or begin with a dot, or less is there than their header declares.
    Raises Unavailable `archive.unavailable`, `archive.incomplete`, `archive.storage-failed`; Refused `archive.query-empty`,
    `archive.conflicting-instances`.
    """

    folder: Path
    _index: dict[str, _Version] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def unreadable(self) -> int:
        """How many files begin as DICOM and stayed unreadable over two looks: broken, not just arriving."""
        with self._lock:
            return sum(version.broken and version.settled for version in self._index.values())

    def find_studies(self, query: StudyQuery) -> tuple[str, ...]:
        query = stripped(query)
        found = {header.study_instance_uid for _, _, header in self._look() if header.answers(query)}
        return tuple(sorted(found))

    def list_instances(self, study_instance_uid: str) -> tuple[InstanceRef, ...]:
        listed = {header.instance.sop_instance_uid: header.instance for _, _, header in self._study(study_instance_uid)}
        return tuple(listed.values())

    def retrieve(self, study_instance_uid: str, into: Path) -> tuple[Path, ...]:
        """Copies of the very versions that were listed: a file changed meanwhile makes the study incomplete."""
        listed = self._study(study_instance_uid)
        with StudyFiles(into, study_instance_uid) as files:
            for path, version, _ in listed:
                files.add(_content(path, version))
            return files.finish([header.instance for _, _, header in listed])

    def ping(self) -> None:
        """Raises Unavailable where the folder cannot be read."""
        try:
            with os.scandir(self.folder) as entries:
                next(entries, None)
        except OSError as error:
            raise _unavailable(error) from None

    def _study(self, study_instance_uid: str) -> list[tuple[str, _Version, Header]]:
        return sorted(
            (found for found in self._look() if found[2].study_instance_uid == study_instance_uid),
            key=lambda found: found[0],
        )

    def _look(self) -> list[tuple[str, _Version, Header]]:
        """Every whole instance; new and changed files are read, the others are remembered."""
        with self._lock:
            try:
                files = _files(os.path.realpath(self.folder))
                self._index = {path: self._version(path, status) for path, status in files}
            except OSError as error:
                raise _unavailable(error) from None
            return [(path, version, version.header) for path, version in self._index.items() if version.header]

    def _version(self, path: str, status: os.stat_result) -> _Version:
        known = self._index.get(path)
        if known is None or not known.is_of(status):
            return _Version(status.st_size, status.st_mtime_ns, *_read(path))
        return known if known.settled else replace(known, settled=True)


def _files(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif entry.is_file(follow_symlinks=False) and not entry.name.lower().endswith(_UNFINISHED):
                # renamed or removed since the folder was listed: found under its new name at the next look
                with contextlib.suppress(FileNotFoundError):
                    yield entry.path, entry.stat(follow_symlinks=False)


def _read(path: str) -> tuple[Header | None, bool]:
    """The header, if the file is a whole instance; and whether it is DICOM, but broken."""
    is_dicom = False
    try:
        with Path(path).open("rb") as file:
            file.seek(_PREFIX_OFFSET)
            is_dicom = file.read(len(_PREFIX)) == _PREFIX
            file.seek(0)
            return (read_instance(file) if is_dicom else None), False
    except NoInstance:
        return None, False
    except (UnreadableInstance, OSError):
        return None, is_dicom


def _content(path: str, version: _Version) -> Iterator[bytes]:
    """The bytes of this version of a regular file; never through a link that took its place."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
            unchanged = version.is_of(os.fstat(descriptor))
    except OSError:
        unchanged = False
    if not unchanged:
        raise Unavailable("archive.incomplete", _WHERE, "a file went away or changed since it was listed")


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable("archive.unavailable", _WHERE, os.strerror(error.errno or 0))
