"""What an order-level response says of a request (ORC-1 of ORR, ORG, ORI; HL7 v2.5.1 §4.5.1.1, table 0119)."""

from collections.abc import Mapping

ACCEPTED, UNABLE = "OK", "UA"

_ANSWERS: Mapping[str, tuple[str, str]] = {
    # request: done as asked, could not be done
    "CA": ("CR", "UC"),  # cancel
    "DC": ("DR", "UD"),  # discontinue
    "HD": ("HR", "UH"),  # hold
    "RL": ("OR", "UR"),  # release a hold
    "XO": ("XR", "UX"),  # change
    "RP": ("RQ", "UM"),  # replace
    "SS": ("SR", UNABLE),  # send the status
}
# what the other side did already: it asks for nothing
_NOTIFICATIONS = frozenset({"OC", "CR", "OD", "DR", "OH", "HR", "OE", "OR", "XX", "XR", "RU", "RQ", "SC", "NA"})


def answer_to(code: str, *, done: bool) -> str:
    """ORC-1 of the answer to this ORC-1."""
    if code in _NOTIFICATIONS:
        return ACCEPTED
    as_asked, unable = _ANSWERS.get(code, (ACCEPTED, UNABLE))
    return as_asked if done else unable
