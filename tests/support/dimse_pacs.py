"""A PACS on loopback that speaks DIMSE (pynetdicom), lists its instances rightly and sends them wrongly, by script."""

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from socketserver import BaseServer

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_GET, C_STORE
from pynetdicom.sop_class import (
    CTImageStorage,
    EnhancedSRStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from fhir_bridge.adapters.dimse_association import Peer
from tests.support.studies import an_instance

CALLED, CALLING = "PACS", "FHIRBRIDGE"
_KEYS = {
    "STUDY": ("StudyInstanceUID", "AccessionNumber"),
    "SERIES": ("StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"),
}

# what happens to the instances of a retrieval
_INSTANCES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "missing-slice": lambda instances: instances[:-1],
    "extra-instance": lambda instances: [*instances, an_instance(number=99)],
    "too-many": lambda instances: [an_instance(number=number) for number in range(1, 20)],
    "twice-the-same": lambda instances: [*instances, instances[0]],
    "twice-but-different": lambda instances: [*instances, an_instance(number=1, size=20)],
    "foreign-instance": lambda instances: [*instances[:-1], an_instance(study_uid="1.2.3", number=3)],
}
# what the final response says instead: status, failed, warned
_ENDS = {
    "one-failed": (0xB000, 1, 0),
    "one-failed-yet-success": (0x0000, 1, 0),
    "one-warned": (0xB000, 0, 1),
    "failed-without-counts": (0xB000, None, None),
    "failed-in-the-middle": (0xC000, 1, 0),
    "out-of-resources": (0xA702, None, None),
    "cancelled": (0xFE00, None, None),
}
FIND_STATUSES = {"find-out-of-resources": 0xA700, "find-not-understood": 0xA900, "find-failed": 0xC001}


@dataclass
class DimsePacs:
    """What to serve, and how. `queries`: the identifiers of every C-FIND."""

    instances: list[bytes]
    fault: str = ""
    called: str = CALLED
    calling: str = ""  # the one AE title that may ask; empty: any
    sop_classes: tuple[str, ...] = (
        Verification,
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
    )
    queries: list[dict[str, str]] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)  # the statuses that our C-STOREs got
    port: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def peer(self, **changes: object) -> Peer:
        """As who we are to it."""
        known = {"timeout_seconds": 20.0, "deadline_seconds": 60.0, **changes}
        return Peer("127.0.0.1", self.port, CALLED, CALLING, **known)  # type: ignore[arg-type]

    def heard(self, event: evt.Event) -> None:
        if isinstance(event.message, C_STORE_RSP):
            self.stored.append(event.message.command_set.Status)

    def datasets(self) -> list[pydicom.FileDataset]:
        return [pydicom.dcmread(io.BytesIO(content)) for content in self.instances]

    def found(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        identifier = event.identifier
        level = identifier.QueryRetrieveLevel
        asked = {key: str(identifier.get(key, "")) for key in _KEYS[level]}
        self.queries.append(asked)
        if self.fault == "find-aborted":
            event.assoc.abort()
            return
        if self.fault == "find-silent":
            self.closing.wait(20)
        if self.fault in FIND_STATUSES:
            yield FIND_STATUSES[self.fault], None
            return
        seen = set()
        for dataset in self.datasets():
            values = {key: str(dataset.get(key, "")) for key in _KEYS[level]}
            matches = all(asked[key] in ("", values[key]) for key in asked)
            if (matches or self.fault == "ignores-keys") and tuple(values.values()) not in seen:
                seen.add(tuple(values.values()))
                yield self._pending(), self._answer(level, values)

    def _pending(self) -> int:
        return 0xFF01 if self.fault == "optional-keys-unsupported" else 0xFF00

    def _answer(self, level: str, values: dict[str, str]) -> Dataset:
        answer = Dataset()
        answer.QueryRetrieveLevel = level
        left_out = {"no-classes": ("SOPClassUID",), "no-names": ("SOPInstanceUID",)}.get(self.fault, ())
        for key, value in values.items():
            if key not in left_out:
                setattr(answer, key, value)
        if self.fault == "endless-answers":
            answer.StudyDescription = "x" * 60
        return answer

    def sent(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None] | int]:
        if self.fault in _ENDS:
            _rewrite_the_end(event.assoc, *_ENDS[self.fault])
        study = event.identifier.StudyInstanceUID
        kept = [content for content, dataset in zip(self.instances, self.datasets(), strict=True)
                if dataset.StudyInstanceUID == study]  # fmt: skip
        contents = _INSTANCES.get(self.fault, list)(kept)
        yield len(contents)
        if self.fault == "another-uid":
            _say_another_uid(event.assoc)
        for number, content in enumerate(contents):
            if number == 1 and self.fault == "aborted-in-the-middle":
                event.assoc.abort()
                return
            if number == 1 and self.fault == "connection-lost":
                event.assoc.dul.socket.close()
                return
            if number == 1 and self.fault == "silent":
                self.closing.wait(20)
            if self.fault == "slow":
                self.closing.wait(0.3)
            yield 0xFF00, pydicom.dcmread(io.BytesIO(content))


def _say_another_uid(association: Association) -> None:
    """The command names another instance than the data set."""
    send = association.dimse.send_msg

    def renamed(message: object, context_id: int) -> None:
        if isinstance(message, C_STORE):
            message.AffectedSOPInstanceUID = "1.2.3.4"
        send(message, context_id)

    association.dimse.send_msg = renamed


def _rewrite_the_end(association: Association, status: int, failed: int | None, warned: int | None) -> None:
    """pynetdicom's own counts are always right."""
    send = association.dimse.send_msg

    def rewritten(message: object, context_id: int) -> None:
        if isinstance(message, C_GET) and message.Status != 0xFF00:
            message.Status = status
            message.NumberOfFailedSuboperations, message.NumberOfWarningSuboperations = failed, warned
            message.Identifier = None
        send(message, context_id)

    association.dimse.send_msg = rewritten


@contextlib.contextmanager
def dimse_pacs(pacs: DimsePacs) -> Iterator[DimsePacs]:
    entity = AE(pacs.called)
    entity.require_called_aet = True
    entity.require_calling_aet = [pacs.calling] if pacs.calling else []
    for sop_class in pacs.sop_classes:
        entity.add_supported_context(sop_class)
    if pacs.fault != "no-roles":
        for sop_class in (CTImageStorage, EnhancedSRStorage):
            entity.add_supported_context(sop_class, [ExplicitVRLittleEndian, RLELossless], scu_role=True, scp_role=True)
    handlers = [
        (evt.EVT_C_FIND, pacs.found),
        (evt.EVT_C_GET, pacs.sent),
        (evt.EVT_DIMSE_RECV, pacs.heard),
    ]
    server = entity.make_server(("127.0.0.1", 0), evt_handlers=handlers, server_class=ThreadedAssociationServer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    pacs.port = server.server_address[1]
    try:
        yield pacs
    finally:
        pacs.closing.set()
        BaseServer.shutdown(server)  # pynetdicom's own forgets a server that it has not started
        server.server_close()
        thread.join()
