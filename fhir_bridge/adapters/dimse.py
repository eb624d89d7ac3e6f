"""A PACS by DIMSE: C-FIND to find and list, C-GET to retrieve over the association that we opened (PS3.4 annex C)."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from fhir_bridge.adapters.dimse_association import ArchiveTls, Conversation, Peer, conversation, unavailable
from fhir_bridge.adapters.dimse_contexts import storage_contexts
from fhir_bridge.adapters.dimse_find import FIND, SUCCESS, exact_accession, exact_uid, find, in_words, instances_of
from fhir_bridge.adapters.dimse_get import GET, Receiver
from fhir_bridge.adapters.study_files import Header, StudyFiles, stripped
from fhir_bridge.sections import Archive
from fhir_bridge.study import InstanceRef, StudyQuery

_MAX_ANSWER_BYTES = 64 << 20  # of one association that only asks
_MAX_INSTANCE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Dimse:
    """The port `ImageArchive` over C-FIND and C-GET. One attempt a call: trying again is the job's affair. Thread-safe.

    Raises Unavailable `archive.unavailable`, `archive.unauthorized`, `archive.truncated`, `archive.incomplete`,
    `archive.storage-failed`; Refused `archive.query-empty`, `archive.query-pattern`, `archive.certificate-unusable`,
    `archive.corrupt`, `archive.foreign-instance`, `archive.conflicting-instances`, `archive.too-large`.
    """

    peer: Peer
    max_instance_bytes: int = _MAX_INSTANCE_BYTES

    def find_studies(self, query: StudyQuery) -> tuple[str, ...]:
        query = stripped(query)
        keys = {"StudyInstanceUID": "", "AccessionNumber": ""}
        if query.study_instance_uid:
            keys["StudyInstanceUID"] = exact_uid(query.study_instance_uid)
        else:
            keys["AccessionNumber"] = exact_accession(query.accession)
        with self._asking() as talk:
            answers = list(find(talk, "STUDY", keys))
        headers = (Header(InstanceRef(""), found["StudyInstanceUID"], found["AccessionNumber"]) for found in answers)
        return tuple(sorted({header.study_instance_uid for header in headers if header.answers(query)}))

    def list_instances(self, study_instance_uid: str) -> tuple[InstanceRef, ...]:
        study = exact_uid(study_instance_uid)
        with self._asking() as talk:
            return tuple(instances_of(talk, study).values())

    def retrieve(self, study_instance_uid: str, into: Path) -> tuple[Path, ...]:
        """One C-GET, straight to files; whole by its counts and by the SOP Instance UIDs that C-FIND lists."""
        study = exact_uid(study_instance_uid)
        listed = self.list_instances(study)
        with StudyFiles(into, study) as files:
            if listed:
                self._get(study, listed, files)
            return files.finish(listed)

    def ping(self) -> None:
        """C-ECHO, and whether C-FIND and C-GET are offered. Raises as the others do."""
        contexts = [build_context(sop_class) for sop_class in (Verification, FIND, GET)]
        with conversation(self.peer, contexts, max_bytes=_MAX_ANSWER_BYTES) as talk:
            for sop_class, name in ((Verification, "C-ECHO"), (FIND, "C-FIND by study"), (GET, "C-GET by study")):
                if not talk.offers(sop_class):
                    raise unavailable(f"it offers no {name}")
            status = talk.association.send_c_echo()
            if "Status" not in status:
                raise talk.broken()
            if status.Status != SUCCESS:
                raise unavailable(f"C-ECHO: {in_words(status.Status)}")

    def _asking(self) -> AbstractContextManager[Conversation]:
        return conversation(self.peer, [build_context(FIND)], max_bytes=_MAX_ANSWER_BYTES)

    def _get(self, study: str, listed: tuple[InstanceRef, ...], files: StudyFiles) -> None:
        storage = storage_contexts(listed)
        roles = [build_role(sop_class, scp_role=True) for sop_class in {str(c.abstract_syntax) for c in storage}]
        receiver = Receiver(files, len(listed))
        contexts = [build_context(GET), *storage]
        limit = self.max_instance_bytes
        with conversation(self.peer, contexts, max_bytes=limit, roles=roles, on_store=receiver.store) as talk:
            receiver.get(talk, study)


def dimse_of(archive: Archive, ae_title: str) -> Dimse:
    """The archive of these settings; `ae_title` is ours."""
    tls = ArchiveTls(archive.ca_file, archive.client_certificate, archive.client_key) if archive.tls else None
    return Dimse(Peer(archive.host, archive.port, archive.called_ae_title, ae_title, archive.timeout_seconds, tls=tls))
