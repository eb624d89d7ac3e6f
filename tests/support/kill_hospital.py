"""The hospital of the kill run: any number of orders, each with a film of its own, and the FHIR server as the hospital sees it.

Messages are templates and films are copies of practice samples: hl7apy and a picture decoder would set the pace of the stream.
"""

import copy
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import requests
from pydicom.dataset import Dataset

from fhir_bridge.practice.film import wrap
from fhir_bridge.practice.story import FILLER_SYSTEM, PATIENT_SYSTEM, PLACER_SYSTEM, Story, uid

Resource = dict[str, Any]

SETTINGS = {
    "authority.HOSP.system": PATIENT_SYSTEM,
    "authority.CPOE.system": PLACER_SYSTEM,
    "authority.RIS.system": FILLER_SYSTEM,
}
SAMPLES = ("person121_bacteria_575.jpeg", "NORMAL2-IM-0120-0001.jpeg", "person136_bacteria_649.jpeg")
_BIRTH_DATE = date(2023, 5, 17)
_TIMEOUT_SECONDS = 60
_PAGE = 200


@dataclass(frozen=True, slots=True)
class KillOrder:
    """One order. Each patient has three, and the orders of four patients alternate."""

    number: int

    @property
    def patient_number(self) -> int:
        return self.number // 12 * 4 + self.number % 4

    @property
    def patient_reference(self) -> str:
        return f"Patient/kill-{self.patient_number}"

    @property
    def mrn(self) -> str:
        return f"CANARY-KM{self.patient_number}"

    @property
    def placer(self) -> str:
        return f"CANARY-KP{self.number}"

    @property
    def accession(self) -> str:
        return f"CANARY-KA{self.number}"

    @property
    def study_instance_uid(self) -> str:
        return uid(f"kill/{self.number}")

    @property
    def sample(self) -> str:
        return SAMPLES[self.number % len(SAMPLES)]

    def message(self, control_id: str) -> bytes:
        """ORM^O01 as IHE RAD-4 has it; the same bytes each time."""
        filler = f"CANARY-KF{self.number}"
        segments = (
            f"MSH|^~\\&|RIS|HOSP|FHIR-BRIDGE|HOSP|20261102091500+0000||ORM^O01|{control_id}|P|2.3.1",
            f"PID|||{self.mrn}^^^HOSP^MR||CANARY^ZEBRA||{_BIRTH_DATE:%Y%m%d}|F",
            "PV1||O",
            f"ORC|NW|{self.placer}^CPOE|{filler}^RIS||SC||^^^20261102091500+0000^^R",
            f"OBR|1|{self.placer}^CPOE|{filler}^RIS|XRCHEST1^Chest radiograph^RISPROC"
            f"||||||||||||||{self.accession}||||||CR|||||||^Cough and fever",
            f"ZDS|{self.study_instance_uid}^^Application^DICOM",
        )
        return "".join(f"{segment}\r" for segment in segments).encode("ascii")


@dataclass(frozen=True, slots=True)
class ReportSeen:
    """A DiagnosticReport of the run, as the server holds it. `observations` are those it names."""

    reference: str
    placer: str = field(repr=False)
    subject: str
    version: str
    observations: tuple[str, ...]


class KillHospital:
    """Raises requests.RequestException where the FHIR server fails: the verdict cannot be had then."""

    def __init__(self, base_url: str, pacs: Path) -> None:
        self._base_url = base_url
        self._pacs = pacs
        self._known: set[int] = set()
        self._lock = threading.Lock()
        self._session = requests.Session()
        # HAPI answers an equal search from up to 60 s ago otherwise
        self._session.headers.update({"Accept": "application/fhir+json", "Cache-Control": "no-cache"})
        pacs.mkdir(parents=True)

    def admit(self, order: KillOrder) -> None:
        """The patient is on the FHIR server, the film in the PACS."""
        with self._lock:
            if order.patient_number not in self._known:
                self._put(_patient(order))
                self._known.add(order.patient_number)
        unfinished = self._film(order).with_suffix(".part")
        _film(order).save_as(unfinished, enforce_file_format=True)
        unfinished.replace(self._film(order))

    def archive(self, order: KillOrder) -> None:
        """Take a film that is reported away: a folder that only grows would make the last restart dearer than the first."""
        self._film(order).unlink(missing_ok=True)

    def newest_reported(self) -> frozenset[str]:
        """Placer numbers of the newest reports."""
        page = self._get(f"{self._base_url}/DiagnosticReport?_sort=-_lastUpdated&_count={_PAGE}&_elements=basedOn")
        return frozenset(_placer(entry["resource"]) for entry in page.get("entry", ()))

    def count_reports(self) -> int:
        """Of everybody: to see the next one come."""
        return int(self._get(f"{self._base_url}/DiagnosticReport?_summary=count")["total"])

    def reports(self) -> tuple[ReportSeen, ...]:
        """Every report of the run."""
        found = self._search("DiagnosticReport", "basedOn,subject,result")
        return tuple(
            ReportSeen(
                reference=f"DiagnosticReport/{report['id']}",
                placer=_placer(report),
                subject=_relative(report["subject"]["reference"]),
                version=report["meta"]["versionId"],
                observations=tuple(_relative(result["reference"]) for result in report.get("result", ())),
            )
            for report in found
            if _placer(report)
        )

    def observations(self) -> dict[str, str]:
        """Every Observation of the run's patients, and whose it is: none was there before."""
        found = self._search("Observation", "subject")
        subjects = {f"Observation/{seen['id']}": _relative(seen["subject"]["reference"]) for seen in found}
        return {seen: subject for seen, subject in subjects.items() if subject.startswith("Patient/kill-")}

    def _film(self, order: KillOrder) -> Path:
        return self._pacs / f"{order.number}.dcm"

    def _put(self, resource: Resource) -> None:
        url = f"{self._base_url}/{resource['resourceType']}/{resource['id']}"
        self._session.put(url, json=resource, timeout=_TIMEOUT_SECONDS).raise_for_status()

    def _get(self, url: str) -> Resource:
        answer = self._session.get(url, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
        page: Resource = answer.json()
        return page

    def _search(self, resource_type: str, elements: str) -> Iterator[Resource]:
        url: str | None = f"{self._base_url}/{resource_type}?_count={_PAGE}&_elements={elements}"
        while url:
            page = self._get(url)
            yield from (entry["resource"] for entry in page.get("entry", ()))
            url = next((link["url"] for link in page.get("link", ()) if link["relation"] == "next"), None)


def _patient(order: KillOrder) -> Resource:
    return {
        "resourceType": "Patient",
        "id": order.patient_reference.removeprefix("Patient/"),
        "identifier": [{"system": PATIENT_SYSTEM, "value": order.mrn}],
        "name": [{"family": "CANARY", "given": ["ZEBRA"]}],
        "gender": "female",
        "birthDate": _BIRTH_DATE.isoformat(),
    }


@cache
def _wrapped(sample: str) -> Dataset:
    return wrap(Story("kill", "one order of many", 0, (), birth_date=_BIRTH_DATE, film=sample))


def _film(order: KillOrder) -> Dataset:
    film = copy.deepcopy(_wrapped(order.sample))
    film.PatientID = order.mrn
    film.AccessionNumber = film.StudyID = order.accession
    film.StudyInstanceUID = order.study_instance_uid
    film.SeriesInstanceUID = uid(f"kill/{order.number}/series")
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = uid(f"kill/{order.number}/instance")
    return film


def _placer(report: Resource) -> str:
    """Of the order that the report is based on; empty where that is none of ours."""
    identifiers = [based_on.get("identifier", {}) for based_on in report.get("basedOn", ())]
    ours = [i["value"] for i in identifiers if i.get("system") == PLACER_SYSTEM and i["value"].startswith("CANARY-KP")]
    return ours[0] if ours else ""


def _relative(reference: str) -> str:
    return "/".join(reference.partition("/_history/")[0].split("/")[-2:])
