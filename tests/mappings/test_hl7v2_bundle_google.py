"""Field by field against what Google's converter makes of its own sample messages (healthcare-data-harmonization, wstl1).

An answer key is not always right: every disagreement matches a line of `EXPECTED` that says why, and every line is needed.
"""

import json
import re
from pathlib import Path

import pytest

from hl7_listener.message import Message
from mappings.hl7v2_bundle import bundle_from
from mappings.hl7v2_order_keys import SenderPolicy
from tests.support.bundle_facts import facts_of

pytestmark = pytest.mark.shared

KEYS = "shared/corpus/hl7v2/answer_keys/gcp/wstl1/mapping_configs/hl7v2_fhir_r4"
MESSAGES = ["adt_a01", *(f"adt_a01_ex{number}" for number in range(1, 5)), "adt_a04_ex1", "adt_a08_ex1", "orm_o01_ex1"]
KINDS = (
    "Account",
    "AllergyIntolerance",
    "Condition",
    "DiagnosticReport",
    "Encounter",
    "Observation",
    "Patient",
    "Practitioner",
)
COMPARED = tuple(f"{kind}." for kind in (*KINDS, "ServiceRequest"))

# file, `+` ours only or `-` Google's only, the fact, why
EXPECTED = (
    (r".*", r"\+ (AllergyIntolerance|Condition|Observation)\.identifier", "ours: derived, so that it is found again"),
    (r".*", r"\+ Encounter\.identifier", "ours: without PV1-19 by the patient and PV1-44, else by PID-18"),
    (r".*", r"[+-] Account\.status", "HL7 v2 says nothing of it: ours unknown, Google's active"),
    (r".*", r"[+-] Encounter\.period", "Google's offset is the number of the month; ours is the sender's zone"),
    (
        r"adt_a01.*",
        r"[+-] Encounter\.status",
        "by the event A01: in-progress; Google: unknown, or finished by a PV1-45 before PV1-44",
    ),
    (r"adt_a01", r"[+-] Encounter\.class", "INPATIENT is not in table 0004: ours unknown, Google's passes it through"),
    (r"adt_a01", r"- Encounter\.participant = PART", "PV1-52 is not mapped here"),
    (
        r"adt_a01",
        r"- (Condition|Observation|Practitioner)\.",
        "the key holds DG1, OBX and people that its message does not have",
    ),
    (r"adt_a01", r"[+-] Patient\.address", "Google adds XAD-19 (contact person) to the lines"),
    (r"adt_a01", r"[+-] Patient\.deceasedDateTime", "PID-29 says 20191130; Google's key holds another date"),
    (r"adt_a01", r"- Patient\.gender", "PID-8 is 2, which is not in table 0001; Google has a local map"),
    (r"adt_a01", r"- Patient\.maritalStatus", "MARRIED is not in table 0002: ours keeps it as text"),
    (r"adt_a01", r"\+ Patient\.communication", "PID-15 is mapped by the guide; Google leaves it out"),
    (r"adt_a01", r"[+-] Patient\.telecom", "PID-40 has no use in the guide; Google says home"),
    (r"adt_a01_ex[14]", r"- Patient\.address", "Google makes an address of PID-12 alone"),
    (r"adt_a08_ex1", r"[+-] Encounter\.class", "R is Recurring patient in the guide; Google says unknown"),
    (r"orm_o01_ex1", r"\+ ServiceRequest\.", "Google makes no ServiceRequest of an order"),
    (r"orm_o01_ex1", r"- DiagnosticReport\.", "an order is no report"),
    (r"orm_o01_ex1", r"\+ Practitioner\.identifier", "OBR-16 orders it; Google leaves it out"),
    (r"orm_o01_ex1", r"\+ Patient\.telecom", "XTN-4 is an e-mail address"),
    (r"orm_o01_ex1", r"- Condition\.verificationStatus", "DG1-21 is empty: nothing was entered in error"),
    (
        r"orm_o01_ex1",
        r"- Encounter\.",
        "the visit has no number: ours is contained in the ServiceRequest; PV1-2 is empty",
    ),
)


def disagreements(name: str, folder: Path) -> set[str]:
    ours = facts_of(bundle_from(Message((folder / f"{name}.hl7").read_bytes()), SenderPolicy()))
    theirs = facts_of(json.loads((folder / f"{name}.hl7.fhir.output.json").read_text(encoding="utf-8")))
    found = {f"+ {fact}" for fact in ours - theirs} | {f"- {fact}" for fact in theirs - ours}
    return {line for line in found if line[2:].startswith(COMPARED)}


@pytest.fixture
def keys(repository: Path) -> Path:
    folder = repository.parent / KEYS
    if not folder.is_dir():
        pytest.skip("the answer keys are not here")
    return folder


@pytest.mark.parametrize("name", MESSAGES)
def test_every_disagreement_with_googles_converter_has_its_reason(name: str, keys: Path) -> None:
    unexplained = {
        line
        for line in disagreements(name, keys)
        if not any(re.fullmatch(file, name) and re.match(fact, line) for file, fact, _ in EXPECTED)
    }

    assert unexplained == set()


def test_no_reason_is_given_for_nothing(keys: Path) -> None:
    found = [(name, line) for name in MESSAGES for line in disagreements(name, keys)]

    idle = [
        reason
        for file, fact, reason in EXPECTED
        if not any(re.fullmatch(file, name) and re.match(fact, line) for name, line in found)
    ]
    assert idle == []


def test_the_two_converters_agree_on_most(keys: Path) -> None:
    agreed = 0
    for name in MESSAGES:
        ours = facts_of(bundle_from(Message((keys / f"{name}.hl7").read_bytes()), SenderPolicy()))
        theirs = facts_of(json.loads((keys / f"{name}.hl7.fhir.output.json").read_text(encoding="utf-8")))
        agreed += len({fact for fact in ours & theirs if fact.startswith(COMPARED)})

    assert agreed >= 100
