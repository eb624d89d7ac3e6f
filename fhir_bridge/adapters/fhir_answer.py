"""What a FHIR server answered: the resource in a body, the errors in an outcome, the times in the headers. Nothing is believed unread."""

import email.utils
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from fhir_bridge.adapters.fhir_session import Reply
from fhir_bridge.study import Resource

MAX_DEPTH = 100  # of objects and arrays in one another: no resource comes near, and every walk over one is recursive
LONGEST_RETRY_AFTER_SECONDS = 3600.0  # what a server may wish of the job's schedule
_HALF_A_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")  # perhaps: two of them make one
_HAPI_NUMBER = re.compile(r"\bHAPI-\d{4}\b")


def has_errors(resource: Resource) -> bool:
    """Whether this is an OperationOutcome that says so (R4 §2.29.4)."""
    if resource["resourceType"] != "OperationOutcome":
        return False
    issues = resource.get("issue", [])
    return not isinstance(issues, list) or any(
        not isinstance(issue, dict) or issue.get("severity") in ("error", "fatal") for issue in issues
    )


def explained(status: int, outcome: Resource) -> str:
    """An outcome in words. Diagnostics quote the patient's values: of them only HAPI's own error number is kept."""
    numbers = _HAPI_NUMBER.findall(json.dumps(outcome.get("issue", "")))
    return " ".join([f"status {status}", *dict.fromkeys(numbers)])


def resource_in(reply: Reply) -> Resource | None:
    """A FHIR resource, or None for anything else that calls itself an answer (a proxy's page, say)."""
    if "json" not in reply.headers.get("Content-Type", "").lower():
        return None
    try:
        parsed = json.loads(reply.body, parse_constant=_no_such_number, parse_float=_finite)
        if _HALF_A_CHARACTER.search(reply.body):
            json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # ValueError: an integer of more than 4,300 digits, half a character
        return None
    is_resource = isinstance(parsed, dict) and isinstance(parsed.get("resourceType"), str)
    return parsed if is_resource and _is_shallow(parsed) else None


def _no_such_number(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("too large")
    return number


def _is_shallow(resource: Resource) -> bool:
    level: list[object] = [resource]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(child, dict | list)
        ]
        if not level:
            return True
    return False


def retry_after(headers: Mapping[str, str], wall: Callable[[], float]) -> float | None:
    """RFC 9110 §10.2.3: seconds, or an HTTP date, which is measured by the server's own clock."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_RETRY_AFTER_SECONDS)
    wanted = http_date(value)
    if wanted is None:
        return None
    now = http_date(headers.get("Date", ""))
    return min(max(0.0, wanted - (wall() if now is None else now)), LONGEST_RETRY_AFTER_SECONDS)


def http_date(value: str) -> float | None:
    """Seconds since 1970 of a date (RFC 9110 §5.6.7); None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
