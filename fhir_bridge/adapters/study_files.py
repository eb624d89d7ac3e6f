"""The files of one study as they arrive in a folder: parts at first, DICOM files all at once when the study is whole."""

import contextlib
import filecmp
import os
import re
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.rendezvous.dicom_header import UnreadableInstance, read_header_from
from fhir_bridge.study import InstanceRef, StudyQuery

_OURS = re.compile(r"\d{5,}\.dcm(\.part)?")


@dataclass(frozen=True, slots=True)
class Header:
    """What an archive knows of one file."""

    instance: InstanceRef
    study_instance_uid: str = field(repr=False)
    accession: str = field(repr=False)

    def answers(self, query: StudyQuery) -> bool:
        """By UID where the query has one, else by accession number; exactly, for `*`, `?` and `\\` are wildcards to a PACS."""
        if query.study_instance_uid:
            return self.study_instance_uid == query.study_instance_uid
        return self.accession == query.accession


class NoInstance(UnreadableInstance):
    """A DICOM file that is no instance of a study."""


def read_instance(file: BinaryIO) -> Header:
    """The header of one file. Raises UnreadableInstance; of it NoInstance for a DICOM file like DICOMDIR."""
    keywords = ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "Modality", "StudyInstanceUID", "AccessionNumber")
    values = read_header_from(file, keywords)
    sop_instance, sop_class, series, modality, study, accession = (values[keyword] for keyword in keywords)
    if not sop_instance or not study:
        raise NoInstance("no SOP Instance UID or no Study Instance UID")
    return Header(InstanceRef(sop_instance, sop_class, series, modality), study, accession)


def stripped(query: StudyQuery) -> StudyQuery:
    """The query without padding. Raises Refused `archive.query-empty`: a query without a key would match the whole archive."""
    query = StudyQuery(query.study_instance_uid.strip(), query.accession.strip())
    if not query.study_instance_uid and not query.accession:
        raise Refused("archive.query-empty", "archive", "the order names neither a study UID nor an accession number")
    return query


class StudyFiles:
    """`NNNNN.dcm.part` until `finish` finds the study complete, then `NNNNN.dcm`, on disk. A context manager: without `finish` all goes.

    Raises Unavailable `archive.storage-failed`, `archive.incomplete`; Refused `archive.corrupt`, `archive.foreign-instance`,
    `archive.conflicting-instances`.
    """

    def __init__(self, into: Path, study_instance_uid: str) -> None:
        self._into = into
        self._study = study_instance_uid
        self._parts: dict[str, Path] = {}  # SOP Instance UID -> part
        self._disk = ThreadPoolExecutor(1, "study-files")  # brings one part to the disk while the next one arrives
        self._on_disk: list[Future[None]] = []

    def __enter__(self) -> "StudyFiles":
        try:
            self._into.mkdir(parents=True, exist_ok=True)
            self._clear()
        except OSError as error:
            raise _storage_failed(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disk.shutdown(cancel_futures=True)
        if kind is not None:
            with contextlib.suppress(OSError):  # the error on its way says more; the next attempt clears again
                self._clear()

    def _clear(self) -> None:
        """Removes what an earlier attempt left, that of a killed process too."""
        for path in self._into.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def add(self, chunks: Iterable[bytes | memoryview]) -> Header:
        """Writes one instance and reads its header back. The same instance a second time is dropped."""
        part = self._into / f"{len(self._parts) + 1:05d}.dcm.part"
        try:
            with part.open("w+b") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.seek(0)
                header = read_instance(file)
        except UnreadableInstance:
            raise Refused("archive.corrupt", "archive", "an instance is not a whole DICOM file") from None
        except OSError as error:
            raise _storage_failed(error) from None
        if header.study_instance_uid != self._study:
            raise Refused("archive.foreign-instance", "StudyInstanceUID", "an instance belongs to another study")
        first = self._parts.setdefault(header.instance.sop_instance_uid, part)
        if first != part:
            if not filecmp.cmp(first, part, shallow=False):
                raise Refused(
                    "archive.conflicting-instances", "SOPInstanceUID", "two different files are the same instance"
                )
            part.unlink()
            return header
        self._on_disk.append(self._disk.submit(_synchronise, part))
        return header

    def synchronise(self) -> None:
        """Returns when all that was added is on disk."""
        try:
            for part_on_disk in self._on_disk:
                part_on_disk.result()
        except OSError as error:
            raise _storage_failed(error) from None
        self._on_disk.clear()

    def finish(self, listed: Collection[InstanceRef]) -> tuple[Path, ...]:
        """Every listed instance came and no other: the files get their names, after their bytes are on disk."""
        expected = {instance.sop_instance_uid for instance in listed}
        missing, extra = len(expected - self._parts.keys()), len(self._parts.keys() - expected)
        if missing or extra or not expected:
            counts = f"{len(expected)} instances listed, {missing} missing, {extra} not listed"
            raise Unavailable("archive.incomplete", "archive", counts)
        self.synchronise()
        try:
            files = tuple(part.rename(part.with_suffix("")) for part in self._parts.values())
            _synchronise(self._into)
        except OSError as error:
            raise _storage_failed(error) from None
        return files


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_failed(error: OSError) -> Unavailable:
    return Unavailable("archive.storage-failed", "phi folder", f"our own disk: {os.strerror(error.errno or 0)}")
