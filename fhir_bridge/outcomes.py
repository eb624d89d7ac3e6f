"""Our refusals in the words of HL7 v2: MSA-1 and the error codes of table 0357."""

from hl7_listener.outcome import Outcome

SEGMENT_SEQUENCE, REQUIRED_FIELD, DATA_TYPE, TABLE_VALUE = 100, 101, 102, 103
UNSUPPORTED_TYPE, UNSUPPORTED_EVENT, UNSUPPORTED_PROCESSING, UNSUPPORTED_VERSION = 200, 201, 202, 203
UNKNOWN_KEY, DUPLICATE_KEY, INTERNAL = 204, 205, 207


_BY_SLUG = {"order.unknown": UNKNOWN_KEY, "order.patient-conflict": DUPLICATE_KEY, "order.ambiguous": UNKNOWN_KEY}
_BY_ENDING = {"-missing": REQUIRED_FIELD, "-unknown": TABLE_VALUE}


def content_refused(code: str, where: str, explanation: str) -> Outcome:
    """AE: the sender must mend the content. `code` is our slug; it, or its ending, says which code of table 0357 it is."""
    ending = code[code.rfind("-") :]
    number = _BY_SLUG.get(code) or _BY_ENDING.get(ending, DATA_TYPE)
    return Outcome("AE", number, where, explanation, code)
