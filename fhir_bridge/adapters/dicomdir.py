"""What a DICOMDIR says should be there (PS3.3 §F.3). It is an index by somebody else: it names no file for us and finds no study, but
an instance that it names and that no file holds is missing.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

import pydicom
from pydicom.uid import MediaStorageDirectoryStorage

from fhir_bridge.rendezvous.dicom_header import UnreadableInstance, attempt_to_read, raw_number, raw_text

_MOST_BYTES = 64 << 20  # 100,000 instances have half of it
_ROOT = "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity"
_NEXT, _BELOW = "OffsetOfTheNextDirectoryRecord", "OffsetOfReferencedLowerLevelDirectoryEntity"

Named = tuple[str, str]  # Study Instance UID, SOP Instance UID


def instances_named(file: BinaryIO) -> tuple[Named, ...]:
    """The instances below the studies of the index; none where the file is no DICOMDIR, or leads nowhere. Raises OSError."""
    if file.seek(0, os.SEEK_END) > _MOST_BYTES:
        return ()
    file.seek(0)
    try:
        return attempt_to_read(lambda: _named(pydicom.dcmread(file)))
    except UnreadableInstance:
        return ()


def _named(dataset: pydicom.Dataset) -> tuple[Named, ...]:
    if dataset.file_meta.get("MediaStorageSOPClassUID") != MediaStorageDirectoryStorage:
        return ()
    sequence = dataset["DirectoryRecordSequence"]
    # where an item starts, tag and length before it included: that is what the offsets count
    records = {int(item.seq_item_tell or 0): item for item in sequence.value}
    return tuple(_walk(records, raw_number(dataset, _ROOT)))


def _walk(records: dict[int, pydicom.Dataset], root: int) -> Iterator[Named]:
    """Every record is visited once: offsets may lead in a circle."""
    open_entities = [(root, "")]
    while open_entities:
        offset, study = open_entities.pop()
        record = records.pop(offset, None)
        if record is None:
            continue
        open_entities.append((raw_number(record, _NEXT), study))
        instance = raw_text(record, "ReferencedSOPInstanceUIDInFile")
        if instance and study:
            yield study, instance
        if raw_text(record, "DirectoryRecordType") == "STUDY":
            study = raw_text(record, "StudyInstanceUID")
        open_entities.append((raw_number(record, _BELOW), study))
