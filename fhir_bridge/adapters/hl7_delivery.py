"""A system that takes results as ORU^R01 by MLLP as a destination of reports (HL7 v2.5.1 §7.3.1; facts/hl7v2.md §4 item 34).

AA, CA        accepted; the receipt is the answer's MSA
AR, CE        it cannot now (§2.9.2.2): the same bytes again later, with the same MSH-10
AE, CR        it will not take this message: hold it for a person, or note it and go on, as the site wants
none in time  it may have it: the same bytes again
"""

import re

from fhir_bridge.adapters.mllp_destination import MllpDestination
from fhir_bridge.errors import Refused, Unavailable, Uncertain
from fhir_bridge.ports import Receipt
from hl7_listener.acknowledgement import Acknowledgement
from hl7_listener.refusal import MessageRefused
from mappings.finding import Report
from mappings.hl7v2_report import Receiver, oru_from
from mappings.refusal import MappingRefused

_NOT_NOW = frozenset({"AR", "CE"})
_REFUSED = frozenset({"AE", "CR"})
_ERROR_CODE = re.compile(r"\d{1,4}")  # ERR-3.1; the peer's other words may hold anything
_LOCATION = re.compile(r"[A-Z][A-Z0-9]{2}(\^\d{1,4}){0,5}")


class Hl7Delivery:
    """Besides the errors of `MllpDestination` and the codes of `oru_from`: Unavailable `hl7.not-now`, Refused `hl7.refused`,
    Uncertain `hl7.unknown-answer`. The receipt's reference is the answer's MSA: `MSA|AA|` and the control ID.
    """

    def __init__(self, destination: MllpDestination, receiver: Receiver, *, skip_refused: bool) -> None:
        self._to = destination
        self._receiver = receiver
        self._skip_refused = skip_refused

    @property
    def destination(self) -> str:
        return f"hl7:{self._to.name}"

    def deliver(self, report: Report) -> Receipt:
        """Send it and wait for its answer; the same report is the same message, so that sending it again is harmless."""
        try:
            message = oru_from(report, self._receiver)
            answer = self._to.send(message)
        except (MappingRefused, MessageRefused) as refusal:
            raise Refused(refusal.code, refusal.where, refusal.explanation) from refusal
        proof = f"MSA|{answer.code}|{answer.control_id.decode('ascii')}"
        if answer.is_positive:
            return Receipt(proof, "accepted")
        if answer.code in _NOT_NOW:
            raise Unavailable("hl7.not-now", self._to.name, _said(answer))
        if answer.code not in _REFUSED:
            raise Uncertain("hl7.unknown-answer", self._to.name, "the answer's MSA-1 is no code of table 0008")
        if self._skip_refused:
            return Receipt(proof, "hl7.refused", is_accepted=False)
        raise Refused("hl7.refused", self._to.name, _said(answer))


def _said(answer: Acknowledgement) -> str:
    """MSA-1, and what of the error segment is a number and a place."""
    code = f", error {answer.error_code}" if _ERROR_CODE.fullmatch(answer.error_code) else ""
    place = f" at {answer.location}" if _LOCATION.fullmatch(answer.location) else ""
    return f"the answer is {answer.code}{code}{place}"
