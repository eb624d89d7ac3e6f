"""Converted messages on real HAPI FHIR: accepted, and the same message again changes nothing."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from click.testing import CliRunner

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.cli.convert import convert
from fhir_bridge.errors import Refused
from fhir_bridge.practice.fhir_peer import FhirPeer
from hl7_listener.message import Message
from mappings.authority import Authorities, Authority
from mappings.fhir_transaction import searches
from mappings.hl7v2_bundle import bundle_from
from mappings.hl7v2_order_keys import SenderPolicy
from tests.support.hapi import errors_in

pytestmark = pytest.mark.real_parts

GOLDEN = Path(__file__).parents[1] / "mappings" / "golden_bundles"
CASES = sorted(GOLDEN.iterdir())
WHOLE = [case for case in CASES if case.name != "cancel_without_obr"]  # it changes what must be there already


class Hospital:
    """A hospital that nobody else on this server is: its names, numbers and studies are its own."""

    def __init__(self, client: FhirClient) -> None:
        self.client = client
        self.token = uuid.uuid4().hex[:8].upper()
        oid = f"1.2.3.{int(self.token, 16)}"
        names = {"HOSP": Authority(f"HOSP{self.token}", oid=oid), "RIS": Authority(f"RIS{self.token}", oid=f"{oid}.1")}
        self.policy = SenderPolicy(Authorities([*names.values(), Authority("99RIS", system="urn:ris:procedures")]))
        self.oid = oid

    def message(self, raw: bytes) -> Message:
        text = re.sub(rb"\b(HOSP|RIS|PACS)\b", lambda name: name[0] + self.token.encode(), raw)
        return Message(text.replace(b"1.2.840.99.", f"1.2.840.99.{int(self.token, 16)}.".encode()))

    def bundle(self, raw: bytes, known: dict[str, Any] | None = None) -> dict[str, Any]:
        return bundle_from(self.message(raw), self.policy, known)

    def take(self, raw: bytes) -> list[str]:
        """What the server says is where: `Patient/1/_history/1`, sorted."""
        answer = self.client.transaction(self.bundle(raw))
        return sorted(entry["response"]["location"] for entry in answer["entry"])

    def take_over_what_is_there(self, raw: bytes) -> None:
        known = {}
        for search in searches(self.bundle(raw)):
            kind, _, query = search.partition("?")
            for found in self.client.search(kind, tuple(parse_qsl(query)), limit=2):
                known[search] = dict(found)
        self.client.transaction(self.bundle(raw, known))

    def the(self, kind: str, number: str) -> dict[str, Any]:
        (found,) = self.client.search(kind, (("identifier", number),), limit=2)
        return dict(found)

    def patient(self, number: str) -> dict[str, Any]:
        return self.the("Patient", f"urn:oid:{self.oid}|{number}")


@pytest.fixture
def hospital(hapi: FhirPeer) -> Iterator[Hospital]:
    with FhirClient(hapi.base_url) as client:
        yield Hospital(client)


def orm(*segments: str, control: str = "M1") -> bytes:
    header = f"MSH|^~\\&|RIS|HOSP|BRIDGE|AI|20260115080000+0100||ORM^O01|{control}|P|2.5.1"
    return "\r".join([header, "PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA", *segments, ""]).encode()


def adt(event: str, *segments: str) -> bytes:
    header = f"MSH|^~\\&|EMR|HOSP|BRIDGE|AI|20260115080000+0100||ADT^{event}|{event}|P|2.5.1"
    return "\r".join([header, *segments, ""]).encode()


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_the_same_message_again_makes_no_double_and_no_version(hospital: Hospital, case: Path) -> None:
    raw = (case / "input.hl7").read_bytes()

    first = hospital.take(raw)
    second = hospital.take(raw)

    assert second == first
    assert all(place.endswith("/_history/1") for place in first)


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_the_servers_validator_finds_no_error(hapi: FhirPeer, hospital: Hospital, case: Path) -> None:
    entries = hospital.bundle((case / "input.hl7").read_bytes())["entry"]

    errors = {error for entry in entries for error in errors_in(hapi, entry["resource"])}

    assert errors == set()


def test_an_order_is_changed_and_cancelled_and_stays_one(hospital: Hospital) -> None:
    hospital.take(orm("ORC|NW|P1^RIS", "OBR|1|P1^RIS||XCH^Chest^L"))
    hospital.take(orm("ORC|XO|P1^RIS|F1^PACS", "OBR|1|P1^RIS||XCH2^Chest two views^L", control="M2"))
    cancelled = hospital.take(orm("ORC|CA||F1^PACS", control="M3"))
    hospital.take(orm("ORC|NW|P1^RIS", "OBR|1|P1^RIS||XCH^Chest^L", control="M4"))  # late, or once more

    request = hospital.the("ServiceRequest", f"urn:oid:{hospital.oid}.1|P1")
    assert (request["status"], request["code"]["coding"][0]["code"]) == ("revoked", "XCH2")
    assert hospital.take(orm("ORC|CA||F1^PACS", control="M3")) == cancelled


def test_the_cancel_of_an_order_that_is_not_there_writes_nothing(hospital: Hospital) -> None:
    with pytest.raises(Refused) as caught:
        hospital.take((GOLDEN / "cancel_without_obr" / "input.hl7").read_bytes())

    assert caught.value.code in ("fhir.not-found", "fhir.rejected")
    assert hospital.client.search("Patient", (("identifier", f"urn:oid:{hospital.oid}|CANARY-1"),), limit=1) == ()


def test_a_merged_patient_is_retired_and_keeps_what_the_server_knew(hospital: Hospital) -> None:
    """item 32"""
    hospital.take(adt("A04", "PID|1||CANARY-OLD^^^HOSP^MR||CANARY^ZEBRA||20210704|F"))
    hospital.take(adt("A04", "PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA||20210704|F||||||+49 30 1"))

    hospital.take_over_what_is_there(adt("A40", "PID|1||CANARY-1^^^HOSP^MR", "MRG|CANARY-OLD^^^HOSP^MR"))

    old, surviving = hospital.patient("CANARY-OLD"), hospital.patient("CANARY-1")
    assert old["link"] == [{"other": {"reference": f"Patient/{surviving['id']}"}, "type": "replaced-by"}]
    assert surviving["link"] == [{"other": {"reference": f"Patient/{old['id']}"}, "type": "replaces"}]
    assert (old["active"], old["birthDate"], surviving["telecom"][0]["value"]) == (False, "2021-07-04", "+49 30 1")


def test_an_update_over_what_is_there_leaves_what_it_does_not_say(hospital: Hospital) -> None:
    """item 23"""
    hospital.take(adt("A04", "PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA||20210704|F||||||+49 30 1"))

    for _ in range(2):
        hospital.take_over_what_is_there(adt("A08", 'PID|1||CANARY-1^^^HOSP^MR||CANARY^NEW||""'))

    patient = hospital.patient("CANARY-1")
    assert (patient["name"][0]["given"], patient["gender"], patient["telecom"][0]["value"]) == (
        ["NEW"],
        "female",
        "+49 30 1",
    )
    assert "birthDate" not in patient
    assert patient["meta"]["versionId"] == "2"


@pytest.mark.prints_identifiers
def test_convert_asks_the_server_what_it_has(hapi: FhirPeer, hospital: Hospital, tmp_path: Path) -> None:
    hospital.take(adt("A04", "PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA||20210704|F"))
    file = tmp_path / "update.hl7"
    file.write_bytes(hospital.message(adt("A08", "PID|1||CANARY-1^^^HOSP^MR||CANARY^NEW")).raw)
    settings = (
        "--set",
        f"fhir.base_url={hapi.base_url}",
        "--set",
        f"authority.HOSP{hospital.token}.oid={hospital.oid}",
    )

    done = CliRunner().invoke(
        convert, [str(file), "--present", "--json", "--data-dir", str(tmp_path / "data"), *settings]
    )

    (entry,) = [found for found in json.loads(done.output)["entry"] if found["resource"]["resourceType"] == "Patient"]
    there = hospital.patient("CANARY-1")
    assert entry["request"] == {"method": "PUT", "url": f"Patient/{there['id']}", "ifMatch": 'W/"1"'}
    assert (entry["resource"]["birthDate"], entry["resource"]["name"][0]["given"]) == ("2021-07-04", ["NEW"])


def test_a_discharge_that_is_cancelled_leaves_the_visit_open(hospital: Hospital) -> None:
    pid, visit = "PID|1||CANARY-1^^^HOSP^MR", "PV1|1|I|WARD" + "|" * 16 + "V1^^^HOSP^VN" + "|" * 25 + "20260101080000"
    hospital.take(adt("A01", pid, visit))
    hospital.take(adt("A03", pid, f"{visit}|20260102080000"))
    discharged = hospital.the("Encounter", f"urn:oid:{hospital.oid}|V1")

    hospital.take_over_what_is_there(adt("A13", pid, visit))

    opened = hospital.the("Encounter", f"urn:oid:{hospital.oid}|V1")
    assert (discharged["status"], "end" in discharged["period"]) == ("finished", True)
    assert (opened["status"], "end" in opened["period"]) == ("in-progress", False)
