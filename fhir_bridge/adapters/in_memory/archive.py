"""The twin of the PACS adapters: DICOM files held in memory."""

import io
from dataclasses import dataclass, field
from pathlib import Path

from fhir_bridge.adapters.study_files import Header, StudyFiles, read_instance, stripped
from fhir_bridge.errors import BridgeError
from fhir_bridge.study import InstanceRef, StudyQuery


@dataclass(slots=True)
class InMemoryArchive:
    """The port `ImageArchive` over bytes given to `store`. Every call raises `outage` while it is set."""

    outage: BridgeError | None = None
    _stored: dict[str, tuple[Header, bytes]] = field(default_factory=dict, init=False, repr=False)

    def store(self, content: bytes) -> InstanceRef:
        """Takes one DICOM file, as a PACS by C-STORE or STOW-RS; the same SOP Instance UID again replaces it."""
        header = read_instance(io.BytesIO(content))
        self._stored[header.instance.sop_instance_uid] = header, content
        return header.instance

    def find_studies(self, query: StudyQuery) -> tuple[str, ...]:
        query = stripped(query)
        found = {header.study_instance_uid for header, _ in self._all() if header.answers(query)}
        return tuple(sorted(found))

    def list_instances(self, study_instance_uid: str) -> tuple[InstanceRef, ...]:
        return tuple(header.instance for header, _ in self._study(study_instance_uid))

    def retrieve(self, study_instance_uid: str, into: Path) -> tuple[Path, ...]:
        listed = self._study(study_instance_uid)
        with StudyFiles(into, study_instance_uid) as files:
            for _, content in listed:
                files.add([content])
            return files.finish([header.instance for header, _ in listed])

    def ping(self) -> None:
        self._all()

    def _all(self) -> list[tuple[Header, bytes]]:
        if self.outage is not None:
            raise self.outage
        return list(self._stored.values())

    def _study(self, study_instance_uid: str) -> list[tuple[Header, bytes]]:
        return [stored for stored in self._all() if stored[0].study_instance_uid == study_instance_uid]
