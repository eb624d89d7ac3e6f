"""What a FHIR server can do: one value, asked by whoever writes or searches. Profiles are measured (HAPI, sekmet) or from documentation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class ServerTraits:
    """The default is a server that does all that R4 describes and we use."""

    transactions: bool = True
    conditional_create: bool = True  # If-None-Exist
    version_guard: bool = True  # a stale If-Match is refused, with 409 or 412
    history: bool = True  # TYPE/_history?_since=
    sorts_by_change: bool = True  # _sort=_lastUpdated
    hooks: bool = True  # Subscription with a rest-hook channel
    tag_filter: bool = True  # _tag:not in the criteria of a Subscription
    ai_label: bool = True  # the security label AIAST
    page_size: int = 50  # HAPI's largest
    not_written: tuple[str, ...] = ()  # resource types that it does not take from us
    required: tuple[str, ...] = ()  # elements beyond R4, as `Observation.encounter`


# Of the last three nobody here ran the real one: see docs/conformance/fhir.md
PROFILES: Mapping[str, ServerTraits] = {
    "generic": ServerTraits(),
    "hapi": ServerTraits(),
    "sekmet": ServerTraits(),
    "epic": ServerTraits(
        transactions=False,
        conditional_create=False,
        version_guard=False,
        history=False,
        sorts_by_change=False,
        hooks=False,
        tag_filter=False,
        ai_label=False,
        not_written=("Device", "ImagingStudy", "Provenance"),
        required=("Observation.encounter", "Observation.effectiveDateTime", "DiagnosticReport.encounter"),
    ),
    "azure": ServerTraits(hooks=False, page_size=100),
    "google": ServerTraits(hooks=False, page_size=100),
}


def traits_of(profile: str, overrides: Mapping[str, Any]) -> ServerTraits:
    """The profile of this name, with what is known better: `overrides` by the names of the traits."""
    return replace(PROFILES[profile], **overrides)
