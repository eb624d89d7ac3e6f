"""C-FIND in the Study Root model (PS3.4 §C.4.1, §C.6.2): keys in, plain values out; no key is ever a pattern."""

import re
from collections.abc import Iterator, Mapping

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from fhir_bridge.adapters.dimse_association import PEER, Conversation, unavailable
from fhir_bridge.errors import Refused
from fhir_bridge.study import InstanceRef

FIND = StudyRootQueryRetrieveInformationModelFind

_MAX_LISTED = 100_000
_UID = re.compile(r"[0-9.]{1,64}")  # PS3.5 §9.1; components with a leading zero are met
_PATTERN = re.compile(r"[*?\\\x00-\x1f]")  # PS3.4 §C.2.2.2.4; `\` separates values (PS3.5 §6.2)

SUCCESS = 0x0000
PENDING = (0xFF00, 0xFF01)  # PS3.4 table C.4-1; FF01: an optional key was not looked at
_STATUSES = {  # PS3.4 tables C.4-1 and C.4-3, PS3.7 annex C
    0x0122: "it does not support this",
    0x0124: "it does not allow us this",
    0x0211: "it does not know this operation",
    0xA700: "out of resources",
    0xA701: "out of resources: it cannot count the instances",
    0xA702: "out of resources: it cannot send the instances",
    0xA900: "it does not understand the query",
    0xFE00: "it cancelled",
}


def exact_uid(uid: str) -> str:
    """The UID. Raises Refused `archive.query-pattern` where it is none: a list or a pattern would match other studies."""
    if not _UID.fullmatch(uid):
        raise Refused("archive.query-pattern", "StudyInstanceUID", "it is no UID")
    return uid


def exact_accession(accession: str) -> str:
    """The number. Raises Refused `archive.query-pattern` where a PACS would read it as a pattern: DIMSE has no way to quote it."""
    if _PATTERN.search(accession):
        raise Refused("archive.query-pattern", "AccessionNumber", "it holds a character that C-FIND reads as a pattern")
    return accession


def in_words(status: int) -> str:
    """A DIMSE status, without the archive's own comment, which may quote the query."""
    return f"status 0x{status:04X}: {_STATUSES.get(status, 'it could not do it')}"


def instances_of(talk: Conversation, study: str) -> dict[str, InstanceRef]:
    """Every instance of a study by its SOP Instance UID, asked for series by series: no more can be asked of a PACS (§C.6.2.1)."""
    instances: dict[str, InstanceRef] = {}
    of_study = {"StudyInstanceUID": study}
    for series in list(find(talk, "SERIES", {**of_study, "SeriesInstanceUID": "", "Modality": ""})):
        of_series = {**of_study, "SeriesInstanceUID": series["SeriesInstanceUID"]}
        for found in find(talk, "IMAGE", {**of_series, "SOPInstanceUID": "", "SOPClassUID": ""}):
            uid = found["SOPInstanceUID"]
            instances[uid] = InstanceRef(uid, found["SOPClassUID"], series["SeriesInstanceUID"], series["Modality"])
            if len(instances) > _MAX_LISTED:
                raise Refused("archive.too-large", PEER, f"more than {_MAX_LISTED} results")
    return instances


_UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


def find(talk: Conversation, level: str, keys: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The values of these keywords for each match; empty where the archive gives none. An empty key asks for the value.

    Raises Unavailable `archive.unavailable`, also for an answer without its unique key: it may be a slice; Refused `archive.too-large`.
    """
    try:
        responses = talk.association.send_c_find(_identifier(level, keys), FIND)
    except RuntimeError:  # no longer established
        raise talk.broken() from None
    for number, (status, answer) in enumerate(responses):
        if "Status" not in status:
            raise talk.broken()
        if status.Status == SUCCESS:
            continue
        if status.Status not in PENDING:
            raise unavailable(f"C-FIND: {in_words(status.Status)}")
        values = {keyword: _value(answer, keyword) for keyword in keys}
        if not values[_UNIQUE[level]]:
            raise unavailable("an answer to C-FIND names nothing")
        if number >= _MAX_LISTED:
            raise Refused("archive.too-large", PEER, f"more than {_MAX_LISTED} results")
        # a PACS that looks at no key but its own answers with other studies, too; one that leaves the key out is believed
        if all(values[keyword] in (key, "") for keyword, key in keys.items() if key and keyword.endswith("UID")):
            yield values


def _identifier(level: str, keys: Mapping[str, str]) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        # pydicom's own check of a value prints it
        identifier.add(DataElement(tag_for_keyword(keyword), dictionary_VR(keyword), value, validation_mode=IGNORE))
    return identifier


def _value(answer: Dataset | None, keyword: str) -> str:
    """Taken raw: pydicom prints an odd value that it decodes."""
    if answer is None:  # pynetdicom could not read it
        return ""
    element = answer.get_item(keyword)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        charset = answer.get_item("SpecificCharacterSet")
        is_utf8 = charset is not None and b"192" in (charset.value or b"")
        value = value.decode("utf-8" if is_utf8 else "latin-1", "replace")
    return str(value or "").strip(" \0")
