"""Orders for tests that send many and look at the answers only. No FHIR server knows the patients."""

from hl7_listener.client import Acknowledgement, MllpClient

MRN_SYSTEM = "urn:oid:1.2.3.4"  # for `authority.HOSP.system`


def control_id(number: int) -> str:
    return f"TINY{number:06d}"


def tiny_order(number: int, *, padding: int = 0) -> bytes:
    """ORM^O01; `padding` characters of remarks make it larger."""
    segments = [
        f"MSH|^~\\&|RIS|HOSP|||20261102091500||ORM^O01|{control_id(number)}|P|2.3.1",
        f"PID|||CANARY-T{number}^^^HOSP^MR||CANARY^ZEBRA||20230517|F",
        f"ORC|NW|CANARY-TP{number}^CPOE",
        f"OBR|1|CANARY-TP{number}^CPOE||XRCHEST1",
    ]
    if padding:
        segments.append(f"NTE|1||{'x' * padding}")
    return "".join(f"{segment}\r" for segment in segments).encode("ascii")


def placer(number: int) -> str:
    return f"CANARY-TP{number}"


def send(client: MllpClient, number: int, *, padding: int = 0) -> Acknowledgement:
    return client.send(tiny_order(number, padding=padding))
