"""MSH and EVN as Provenance: which message said so (v2-to-FHIR guide, segment maps MSH[Provenance-Source], -Transformation).

It is found again by MSH-3, MSH-4 and MSH-10, and holds no MSH-7 where another time is there: a sender that sends a message again
stamps it anew, and that must change nothing.
"""

from mappings import code_system
from mappings.code import Code
from mappings.fhir_elements import concept, name_uuid
from mappings.hl7v2_conversion import Conversion
from mappings.hl7v2_elements import instant_of
from mappings.hl7v2_identity import identifier_element

_AUTHOR = concept(Code("author", code_system.PROVENANCE_AGENT, "Author"))
_ASSEMBLER = concept(Code("assembler", code_system.PROVENANCE_AGENT, "Assembler"))
_TIMES = (("EVN", 2), ("ORC", 9), ("MSH", 7))


def add_provenance(conversion: Conversion) -> None:
    """The Provenance of all that is written; none where the message has no control ID or no time, since R4 wants both said."""
    header = conversion.header
    control_id, recorded = header.text(10), _recorded(conversion)
    targets = conversion.transaction.targets()
    if not control_id or not recorded or not targets:
        conversion.trace.note("Provenance", f"{header.where(10)}: no control ID, no time or nothing written: left out")
        return
    application, facility = header.text(3), header.text(4)
    sender = f"{application}|{facility}"
    message = conversion.resolved(control_id, "message", namespace=sender)
    event = header.text(9, 2).upper()
    words = ", ".join([part for part in (application, facility) if part])
    conversion.transaction.put_by_id(
        {
            "resourceType": "Provenance",
            "id": f"hl7v2-{name_uuid(f'{sender}|{control_id}')}",
            "target": targets,
            "recorded": recorded,
            **({"activity": {"coding": [{"system": code_system.EVENT_TYPE, "code": event}]}} if event else {}),
            "agent": [
                # the application and facility in words: we keep no Organization of it
                {"type": _AUTHOR, "who": {"display": words or "a sender without a name (MSH-3, MSH-4)"}},
                {"type": _ASSEMBLER, "who": {"display": "fhir-bridge"}},
            ],
            "entity": [{"role": "source", "what": {"identifier": identifier_element(message)}}],
        }
    )


def _recorded(conversion: Conversion) -> str:
    """EVN-2, else ORC-9, else MSH-7, as an instant."""
    for name, position in _TIMES:
        for segment in conversion.named.get(name, ()):
            if moment := instant_of(segment.text(position), conversion.zone):
                conversion.trace.note("Provenance.recorded", segment.where(position))
                return moment
    return ""
