"""One order from its HL7 v2 message to the result on the FHIR server: all parts real, read back as the hospital sees it."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from fhir_bridge.practice import patients
from fhir_bridge.practice.fhir_peer import FhirPeer
from fhir_bridge.practice.film import wrap
from fhir_bridge.practice.story import Story
from inference.manifest import manifest_of
from tests.support.bridge import Bridge, a_story
from tests.support.film_bytes import film_of
from tests.support.hapi import errors_in
from tests.support.orthanc import Orthanc

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]

MODEL = manifest_of("xray_pneumonia")
PNEUMONIA, PRESENT = "233604007", "52101004"  # SNOMED CT


@dataclass(frozen=True)
class Played:
    """The story, what the RIS was answered, and the results as the FHIR server holds them."""

    story: Story
    answer: str
    status: str
    report: dict[str, Any]
    observations: tuple[dict[str, Any], ...]
    study: dict[str, Any]
    provenance: dict[str, Any]
    device: dict[str, Any]

    def finding(self) -> dict[str, Any]:
        (found,) = (one for one in self.observations if codes(one["code"]) == [PNEUMONIA])
        return found


@pytest.fixture(scope="module")
def played(bridge: Bridge, orthanc: Orthanc) -> Played:
    """The order is on the FHIR server, the film in the PACS; then the RIS sends ORM^O01."""
    story = a_story("order")
    bridge.admit(story)
    bridge.put(patients.service_request(story, datetime.now(UTC)))
    orthanc.store(film_of(story))
    answer = bridge.send(story)
    job = bridge.await_status(story, "done", "held", "failed")
    report = bridge.report_of(job)
    observations = tuple(bridge.fhir.read(result["reference"]) for result in report["result"])
    return Played(
        story=story,
        answer=answer,
        status=job.status,
        report=report,
        observations=observations,
        study=bridge.fhir.read(report["imagingStudy"][0]["reference"]),
        provenance=bridge.fhir.read(f"Provenance/ai-{job.id}.{_digits(report)}"),
        device=bridge.fhir.read(observations[0]["device"]["reference"]),
    )


def _digits(report: dict[str, Any]) -> str:
    """Of the time of the report, as HAPI keeps it (UTC, milliseconds): the Provenance of this edition bears them."""
    issued = datetime.fromisoformat(report["issued"]).astimezone(UTC)
    return f"{issued:%Y%m%d%H%M%S}{issued.microsecond // 1000:03d}"


def codes(concept: dict[str, Any]) -> list[str]:
    return [coding["code"] for coding in concept["coding"]]


def test_the_order_is_accepted_and_done(played: Played) -> None:
    assert (played.answer, played.status) == ("AA", "done")


def test_the_report_is_preliminary_of_the_right_patient_and_answers_the_order_on_the_server(played: Played) -> None:
    """The message names the order by its placer order number alone."""
    report = played.report
    assert report["status"] == "preliminary"
    assert report["subject"]["reference"] == patients.patient_reference(played.story)
    assert [one["reference"] for one in report["basedOn"]] == [patients.service_request_reference(played.story)]


def test_the_report_concludes_what_its_finding_says(played: Played) -> None:
    (conclusion,) = played.report["conclusionCode"]
    assert codes(conclusion) == [PNEUMONIA]
    assert codes(played.finding()["valueCodeableConcept"]) == [PRESENT]


def test_the_imaging_study_is_that_of_the_film(played: Played) -> None:
    assert played.study["identifier"][0] == {
        "system": "urn:dicom:uid",
        "value": f"urn:oid:{played.story.study_instance_uid}",
    }
    assert played.study["subject"]["reference"] == patients.patient_reference(played.story)


def test_the_pdf_arrives_whole(played: Played) -> None:
    (form,) = played.report["presentedForm"]
    pdf = base64.b64decode(form["data"])
    assert form["contentType"] == "application/pdf"
    assert pdf.startswith(b"%PDF-")
    assert base64.b64decode(form["hash"]) == hashlib.sha1(pdf, usedforsecurity=False).digest()


def test_every_observation_says_which_model_in_which_version_with_which_weights(played: Played) -> None:
    assert {one["device"]["reference"] for one in played.observations} == {f"Device/{played.device['id']}"}
    assert played.device["modelNumber"] == MODEL.name
    assert [version["value"] for version in played.device["version"]] == [MODEL.version]
    weights = hashlib.sha256((MODEL.folder / "model.keras").read_bytes()).hexdigest()
    assert weights in {one["value"] for one in played.device["identifier"]}


def test_the_provenance_leads_from_the_result_to_the_order_the_film_and_the_model(played: Played) -> None:
    provenance = played.provenance
    targets = {one["reference"].partition("/_history")[0] for one in provenance["target"]}
    sources = [entity["what"] for entity in provenance["entity"]]
    assert targets == {f"{one['resourceType']}/{one['id']}" for one in (played.report, *played.observations)}
    assert provenance["agent"][0]["who"]["reference"] == f"Device/{played.device['id']}"
    assert patients.service_request_reference(played.story) in {one.get("reference") for one in sources}
    film_uid = f"urn:oid:{wrap(played.story).SOPInstanceUID}"
    assert film_uid in {one["identifier"]["value"] for one in sources if "identifier" in one}


def test_the_servers_validator_finds_no_error_in_what_it_holds(hapi: FhirPeer, played: Played) -> None:
    written = (played.report, *played.observations, played.study, played.provenance, played.device)
    assert [errors for one in written if (errors := errors_in(hapi, one))] == []


def test_the_same_message_again_changes_nothing(bridge: Bridge, played: Played) -> None:
    answer = bridge.ris.send_again()
    assert answer == "AA"
    assert len(bridge.jobs_of(played.story)) == 1
    assert bridge.report_of(bridge.job_of(played.story))["meta"]["versionId"] == played.report["meta"]["versionId"]
