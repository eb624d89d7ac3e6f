"""Original and enhanced mode (HL7 v2.5.1 §2.9.2, §2.9.3): which answer, on which level, if any.

    MSH-15, MSH-16   both empty: original mode, one answer AA, AE or AR. One of them set: enhanced mode, the other one counts as NE
    accept level     CA, CE or CR, as MSH-15 asks, on the same connection: the message is in safe storage, or it is not
    application      AA, AE or AR, as MSH-16 asks, later, as a new message on a connection of its own

Table 0155: AL always, NE never, ER only on an error or a rejection, SU only on success.
"""

from dataclasses import replace
from datetime import datetime

from hl7_listener.acknowledgement import acknowledge
from hl7_listener.header import Header
from hl7_listener.outcome import POSITIVE, Outcome

_NULL = '""'
_UNACCEPTABLE = frozenset({200, 201, 202, 203})  # MSH-9, MSH-11, MSH-12 (§2.9.3.1): CR; whatever else is wrong: CE
_UNREADABLE = frozenset({100})


def is_enhanced(header: Header) -> bool:
    """Whether the sender asks for enhanced mode: MSH-15 or MSH-16 is set."""
    return any(_conditions(header))


def accept_level(outcome: Outcome, header: Header | None) -> Outcome:
    """The accept acknowledgement in place of an original mode outcome; code "" where MSH-15 wants none.

    A header in original mode keeps its outcome. Without a header (None) nobody knows what MSH-15 wants: it is always sent.
    """
    if header is not None and not is_enhanced(header):
        return outcome
    code = _accept_code(outcome, header)
    if header is not None and not _is_wanted(_conditions(header)[0], is_positive=code in POSITIVE):
        code = ""
    return replace(outcome, code=code, orders=())


def wants_application_answer(header: Header, outcome: Outcome) -> bool:
    """Whether MSH-16 wants this application level outcome (AA, AE, AR) told, as `application_acknowledgement` or a response message.

    Never in original mode, where the one answer was it, and never after CE or CR (§2.9.3.1), which end the exchange. Where MSH-15
    kept a refusal silent, the application level is the only place to tell it: ask with its AE or AR.
    """
    if header.is_answer or outcome.code not in ("AA", "AE", "AR"):
        return False
    return _is_wanted(_conditions(header)[1], is_positive=outcome.code in POSITIVE)


def application_acknowledgement(
    header: Header,
    outcome: Outcome,
    *,
    application: str,
    facility: str,
    control_id: str,
    at: datetime,
    message: bytes = b"",
) -> bytes:
    """The deferred application acknowledgement: "the initial message of a later exchange" (v2.9.1 §2.9.1), with an MSH-10 of its own.

    MSH-16 is NE: an application acknowledgement has none itself (§2.9.3.2). MSH-15 is AL: the accept acknowledgement tells us that
    it arrived. `message` as in `acknowledge`. Raises ValueError where `at` has no time zone.
    """
    return acknowledge(
        header,
        outcome,
        application=application,
        facility=facility,
        control_id=control_id,
        at=at,
        message=message,
        conditions=("AL", "NE"),
    )


def _conditions(header: Header) -> tuple[str, str]:
    """MSH-15 and MSH-16 in upper case; the HL7 null asks for nothing."""
    return (
        header.accept_acknowledgement.replace(_NULL, ""),
        header.application_acknowledgement.replace(_NULL, ""),
    )


def _accept_code(outcome: Outcome, header: Header | None) -> str:
    if outcome.code in ("AA", "CA"):
        return "CA"
    if outcome.code == "AR":
        rejected = _UNACCEPTABLE if header is not None else _UNACCEPTABLE | _UNREADABLE
        return "CR" if outcome.error_code in rejected else "CE"
    return "CE" if outcome.code == "AE" else outcome.code


def _is_wanted(condition: str, *, is_positive: bool) -> bool:
    """An unknown word is taken as AL: an answer too many is dropped, one too few stops the sender."""
    if condition in ("", "NE"):
        return False
    if condition == "SU":
        return is_positive
    return condition != "ER" or not is_positive
