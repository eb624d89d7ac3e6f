"""HL7 v2 messages of one hospital for the tests of bundles, and what stands in a bundle."""

from typing import Any

from hl7_listener.message import Message
from mappings.authority import Authorities, Authority
from mappings.hl7v2_bundle import bundle_from
from mappings.hl7v2_order_keys import SenderPolicy

Bundle = dict[str, Any]
SITE = SenderPolicy(Authorities([Authority("HOSP", oid="1.2.3")]), time_zone="Europe/Berlin")
PID = "PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA||20210704|F"
PATIENT = "Patient?identifier=urn%3Aoid%3A1.2.3%7CCANARY-1"


def message(kind: str, *segments: str, sent: str = "20260115080000", control: str = "M1") -> Message:
    header = f"MSH|^~\\&|RIS|HOSP|BRIDGE|AI|{sent}||{kind}|{control}|P|2.5.1"
    return Message("\r".join([header, *segments, ""]).encode())


def order(*segments: str, policy: SenderPolicy = SITE, known: dict[str, Any] | None = None, **header: str) -> Bundle:
    return bundle_from(message("ORM^O01", *segments, **header), policy, known)


def adt(event: str, *segments: str, policy: SenderPolicy = SITE, known: dict[str, Any] | None = None) -> Bundle:
    return bundle_from(message(f"ADT^{event}", *segments), policy, known)


def segment(name: str, **fields: str) -> str:
    """A segment by its fields: `segment("PV1", f2="I")`."""
    numbered = {int(key[1:]): value for key, value in fields.items()}
    return name + "".join("|" + numbered.get(position, "") for position in range(1, max(numbered) + 1))


def entries(bundle: Bundle, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def only(bundle: Bundle, kind: str) -> dict[str, Any]:
    (entry,) = entries(bundle, kind)
    resource: dict[str, Any] = entry["resource"]
    return resource
