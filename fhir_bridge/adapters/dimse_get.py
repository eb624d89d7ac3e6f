"""C-GET in the Study Root model (PS3.4 §C.4.3): each instance goes to its file undecoded."""

from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.events import Event
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet  # type: ignore[attr-defined]

from fhir_bridge.adapters.dimse_association import PEER, Conversation, unavailable
from fhir_bridge.adapters.dimse_find import PENDING, SUCCESS, in_words
from fhir_bridge.adapters.study_files import StudyFiles
from fhir_bridge.errors import BridgeError, Refused, Unavailable

GET = StudyRootQueryRetrieveInformationModelGet

_CANNOT_STORE = 0xA700  # PS3.4 table B.2-1: out of resources


class Receiver:
    """The storage side of one C-GET: each instance is a file on disk before the archive hears that it is."""

    def __init__(self, files: StudyFiles, listed: int) -> None:
        self._files = files
        self._left = 2 * listed  # an instance may come twice; an endless stream may not
        self._error: BridgeError | None = None
        self._talk: Conversation | None = None

    def get(self, talk: Conversation, study: str) -> None:
        """The whole study. Raises Unavailable `archive.truncated`, `archive.incomplete`, and what `StudyFiles` raises."""
        self._talk = talk
        if not talk.offers(GET):
            raise unavailable("it offers no C-GET by study")
        if not any(context.as_scp for context in talk.association.accepted_contexts):
            raise unavailable("it agrees to send none of the study's SOP classes by C-GET")
        try:
            responses = talk.association.send_c_get(_identifier(study), GET)
        except RuntimeError:  # no longer established
            raise talk.broken("archive.truncated") from None
        for status, _ in responses:
            if self._error:
                raise self._error
            if "Status" not in status:
                raise talk.broken("archive.truncated")
            if status.Status not in PENDING:
                _check_end(status)

    def store(self, event: Event) -> int:
        """The answer to one C-STORE of the archive: a status of PS3.4 table B.2-1."""
        try:
            self._store(event)
        except BridgeError as error:
            self._error = self._error or error
            if self._talk:
                self._talk.guard.give_up(error.explanation)  # the rest need not come
            return _CANNOT_STORE
        return SUCCESS

    def _store(self, event: Event) -> None:
        request: Any = event.request
        self._left -= 1
        if self._left < 0:
            raise Unavailable("archive.incomplete", PEER, "more instances than are listed")
        with request.DataSet.getbuffer() as content:
            header = self._files.add([_file_head(event), content])
            if self._talk:
                self._talk.guard.unread -= len(content)
        if header.instance.sop_instance_uid != request.AffectedSOPInstanceUID:
            raise Refused("archive.corrupt", "SOPInstanceUID", "an instance is another one than its C-STORE says")
        self._files.synchronise()


def _identifier(study: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study
    return identifier


def _file_head(event: Event) -> bytes:
    """Preamble and file meta information (PS3.10 §7.1) for the data set as it came."""
    request: Any = event.request
    meta = create_file_meta(
        sop_class_uid=request.AffectedSOPClassUID,
        sop_instance_uid=request.AffectedSOPInstanceUID,
        transfer_syntax=event.context.transfer_syntax,
    )
    return bytes(128) + b"DICM" + encode_file_meta(meta)


def _check_end(status: Any) -> None:
    """The final response: it counts, whatever it is called (PS3.4 table C.4-3)."""
    failed = int(status.get("NumberOfFailedSuboperations") or 0)
    warned = int(status.get("NumberOfWarningSuboperations") or 0)
    if failed or warned:
        counts = f"it sent not all: {failed} instances failed, {warned} with a warning"
        raise Unavailable("archive.incomplete", PEER, counts)
    if status.Status == 0xB000:
        raise Unavailable("archive.incomplete", PEER, "it sent not all, and does not say how many failed")
    if status.Status != SUCCESS:
        raise unavailable(f"C-GET: {in_words(status.Status)}")
