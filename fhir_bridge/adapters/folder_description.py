"""What lies in a folder of DICOM files, of any layout: series by series, and what of it cannot be used. Decodes nothing, changes nothing."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import MediaStorageDirectoryStorage

from fhir_bridge.adapters.dicom_pieces import Piece, files_below, opened, pieces_of
from fhir_bridge.adapters.dicom_zip import BROKEN
from fhir_bridge.adapters.dicomdir import Named, instances_named
from fhir_bridge.errors import Unavailable
from fhir_bridge.rendezvous.dicom_header import UnreadableInstance
from fhir_bridge.rendezvous.series_facts import ImageFacts, SeriesSummary, disagreements, read_facts, summary_of

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Series:
    """A series of the study of this number, counted from 1 in the order of their UIDs. `mixed`: keywords in which its study names
    different patients."""

    study: int
    summary: SeriesSummary
    mixed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """`refused`: files by their names in the folder, with the reason; `missing`: instances that a DICOMDIR names and that are not there;
    `copies`: files that hold an instance once more, byte by byte; `foreign`: files that are no DICOM."""

    series: tuple[Series, ...]
    instances: int
    copies: int
    foreign: int
    indexes: int  # DICOMDIRs
    missing: int
    refused: tuple[tuple[str, str], ...]

    @property
    def is_sound(self) -> bool:
        """Something is there, and nothing of it is broken, missing, doubled with other contents, or of two patients."""
        return bool(self.series) and not (self.refused or self.missing or any(one.mixed for one in self.series))


@dataclass(slots=True)
class _Seen:
    facts: dict[str, ImageFacts] = field(default_factory=dict)  # by SOP Instance UID
    digests: dict[str, str] = field(default_factory=dict)
    named: set[Named] = field(default_factory=set)
    refused: list[tuple[str, str]] = field(default_factory=list)
    copies: int = 0
    foreign: int = 0
    indexes: int = 0


def describe(folder: Path) -> Description:
    """Raises Unavailable `archive.unavailable` where the folder cannot be read."""
    root, seen = os.path.realpath(folder), _Seen()
    try:
        paths = sorted(path for path, _ in files_below(root))
    except OSError as error:
        raise Unavailable("archive.unavailable", "folder", os.strerror(error.errno or 0)) from None
    for path in paths:
        name = os.path.relpath(path, root)
        try:
            with opened(path) as file:
                for piece in pieces_of(file):
                    _look(piece, f"{name}: {piece.name}" if piece.name else name, seen)
        except (*BROKEN, OSError):
            seen.refused.append((name, "cannot be read"))
    return _description(seen)


def _look(piece: Piece, name: str, seen: _Seen) -> None:
    if piece.file is None:
        if piece.trouble:
            seen.refused.append((name, piece.trouble))
        else:
            seen.foreign += 1
        return
    try:
        facts = read_facts(piece.file)
    except UnreadableInstance as reason:
        seen.refused.append((name, str(reason)))
        return
    if facts.instance.sop_instance_uid and facts.study:
        _add(facts, piece.file, name, seen)
    elif facts.media_class == MediaStorageDirectoryStorage:
        seen.indexes += 1
        seen.named.update(instances_named(piece.file))
    else:
        seen.refused.append((name, "no SOP Instance UID or no Study Instance UID"))


def _add(facts: ImageFacts, file: BinaryIO, name: str, seen: _Seen) -> None:
    uid = facts.instance.sop_instance_uid
    digest = _digest(file)
    if uid not in seen.facts:
        seen.facts[uid], seen.digests[uid] = facts, digest
    elif seen.digests[uid] == digest:
        seen.copies += 1
    else:
        seen.refused.append((name, "another file with other contents is the same instance"))


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _description(seen: _Seen) -> Description:
    there = {(facts.study, uid) for uid, facts in seen.facts.items()}
    return Description(
        series=tuple(_series(list(seen.facts.values()))),
        instances=len(seen.facts),
        copies=seen.copies,
        foreign=seen.foreign,
        indexes=seen.indexes,
        missing=len(seen.named - there),
        refused=tuple(seen.refused),
    )


def _series(facts: list[ImageFacts]) -> Iterator[Series]:
    """By study, then by number, then by UID."""
    for number, study in enumerate(sorted({one.study for one in facts}), start=1):
        of_study = [one for one in facts if one.study == study]
        mixed = disagreements(of_study)
        by_series: dict[str, list[ImageFacts]] = {}
        for one in of_study:
            by_series.setdefault(one.instance.series_instance_uid, []).append(one)
        for _, of_series in sorted(by_series.items(), key=lambda item: (_count(item[1][0].series_number), item[0])):
            yield Series(number, summary_of(of_series), mixed)


def _count(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 12 else -1
