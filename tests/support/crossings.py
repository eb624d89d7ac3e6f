"""A patient, a folder of originals, and the way across the boundary of de-identification."""

import io
import json
from pathlib import Path

import pydicom

from fhir_bridge.deid.crossing import Crossing, cross
from fhir_bridge.deid.pseudonym import ProjectKeys
from fhir_bridge.deid.vault import Vault
from fhir_bridge.study import ClinicalContext, RawStudy
from tests.support.raw_film import CR, STUDY, Film, text

KEYS = ProjectKeys(bytes(range(32)))
PATIENT = {
    "resourceType": "Patient",
    "id": "CANARY-77",
    "gender": "female",
    "birthDate": "2020-03-04",
    "name": [{"family": "CANARY", "given": ["ZEBRA"]}],
    "identifier": [{"value": "CANARY-1"}],
}
CONDITION = {
    "resourceType": "Condition",
    "id": "CANARY-C1",
    "code": {"coding": [{"system": "http://snomed.info/sct", "code": "233604007", "display": "CANARY"}]},
    "onsetDateTime": "2023-03-01",
}
CONTEXT = ClinicalContext(PATIENT, others={"Condition": (CONDITION,)})


class Hospital:
    """A folder of originals under `phi/`, and the way across."""

    def __init__(self, data_dir: Path, vault: Vault) -> None:
        self.originals = data_dir / "phi" / "study"
        self.originals.mkdir()
        self.released = data_dir / "deidentified" / "job-1" / "study"
        self.vault = vault

    def study(self, *contents: bytes) -> RawStudy:
        for number, content in enumerate(contents):
            (self.originals / f"CANARY-{number}.dcm").write_bytes(content)
        files = tuple(Path(f"CANARY-{number}.dcm") for number in range(len(contents)))
        return RawStudy(self.originals, STUDY, files)

    def cross(self, *contents: bytes, context: ClinicalContext = CONTEXT, job: str = "job-1") -> Crossing:
        return cross(self.study(*contents), context, job=job, into=self.released, keys=KEYS, vault=self.vault)


def image(number: int, sop_class: str = CR) -> Film:
    return Film(sop_class).put(text(0x00080018, "UI", f"1.2.3.30{number}"))


def read(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(path.read_bytes()))


def everything_released(crossing: Crossing) -> bytes:
    files = sorted(crossing.study.folder.rglob("*"))
    context = json.dumps([crossing.context.resources, crossing.context.sex, crossing.context.age_years])
    names = "\n".join(path.name for path in files)
    return b"\n".join([*(path.read_bytes() for path in files), crossing.manifest, context.encode(), names.encode()])
