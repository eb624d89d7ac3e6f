"""Our refusals in the words of HL7 v2: MSA-1 and the error codes of table 0357."""

from hl7_listener.outcome import Outcome

SEGMENT_SEQUENCE, REQUIRED_FIELD, DATA_TYPE, TABLE_VALUE = 100, 101, 102, 103
UNSUPPORTED_TYPE, UNSUPPORTED_EVENT, UNSUPPORTED_PROCESSING, UNSUPPORTED_VERSION = 200, 201, 202, 203
UNKNOWN_KEY, INTERNAL = 204, 207


def content_refused(code: str, where: str, explanation: str) -> Outcome:
    """AE: the sender must mend the content. `code` is our slug, whose ending says which code of table 0357 it is."""
    return Outcome("AE", _number(code), where, explanation, code)


def _number(code: str) -> int:
    if code == "order.unknown":
        return UNKNOWN_KEY
    if code.endswith("-missing"):
        return REQUIRED_FIELD
    if code.endswith("-unknown"):
        return TABLE_VALUE
    return DATA_TYPE if code.endswith("-malformed") else INTERNAL
