"""The sequence number protocol (HL7 v2.5.1 §2.10.1), where a sender has agreed to it: MSH-13 against the last one accepted, MSA-4."""

from dataclasses import replace

from fhir_bridge.outcomes import DATA_TYPE, SEGMENT_SEQUENCE
from hl7_listener.outcome import Outcome

ANY = -1  # MSH-13 -1: whatever number comes next is taken


def expected_after(last: int | None) -> int:
    """MSA-4: the number that must come next; -1 where none came yet, or the sender asked to start anew."""
    return ANY if last is None or last == ANY else last + 1


def judge_number(number: int | None, text: str, last: int | None) -> Outcome | None:
    """The refusal, or the answer that ends the matter, by the message's number; None where the message is next.

    `text` is MSH-13 as it came. A number lower than expected is a repeat, answered as one; a gap is refused with the number that is
    missing, and so the sender begins again from there.
    """
    if number is None:
        if not text:
            return None  # not every message of such a link bears one
        return Outcome("AE", DATA_TYPE, "MSH^1^13", "not a sequence number", "message.sequence-malformed")
    expected = expected_after(last)
    if number in (0, ANY) or expected == ANY or number == expected:
        return None
    if number < expected:
        return Outcome("AA", expected_sequence=expected)
    text = "a message before this one is missing"
    return Outcome("AE", SEGMENT_SEQUENCE, "MSH^1^13", text, "message.sequence-gap", expected)


def with_expected(outcome: Outcome, number: int | None, last: int | None) -> Outcome:
    """The outcome with MSA-4. 0 asks for the number we expect, -1 sets us back, any other is the last one now."""
    if number is None:
        return outcome
    now = last if number == 0 else number
    return replace(outcome, expected_sequence=expected_after(now))
