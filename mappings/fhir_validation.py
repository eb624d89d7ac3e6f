"""The last look at a transaction before it is sent: R4B by `fhir.resources`, and the rules that only a server would tell us."""

from collections.abc import Iterator
from typing import Any

from mappings.fhir_elements import Json, is_relative_reference
from mappings.refusal import MappingRefused


def validate(bundle: Json) -> None:
    """Raises MappingRefused `report.fhir-invalid` with the path of the first wrong element; never with a value.

    R4B is the R4 of these resources with its errata. Importing `fhir.resources` takes seconds: it happens here and not before.
    """
    from fhir.resources.R4B.bundle import Bundle  # late on purpose, see above
    from pydantic import ValidationError

    try:
        Bundle.model_validate(bundle)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        path = ".".join(str(step) for step in first["loc"])
        raise MappingRefused("report.fhir-invalid", path or "Bundle", f"not valid R4B: {first['type']}") from None
    _require_distinct(bundle)
    _require_links(bundle)


def _require_distinct(bundle: Json) -> None:
    """Each entry has an identity of its own: a server merges equal ones (hapi-fhir#8183)."""
    identities = [
        (entry["request"]["url"], entry["request"].get("ifNoneExist", "")) for entry in bundle.get("entry", [])
    ]
    for number, identity in enumerate(identities):
        if identity in identities[:number]:
            raise MappingRefused(
                "report.fhir-invalid", f"Bundle.entry.{number}.request", "two entries have one identity"
            )


def _require_links(bundle: Json) -> None:
    """A reference is `Type/id`, names an entry of this bundle or a contained resource: HAPI refuses absolute URLs and unknown `urn:uuid:`."""
    entries = bundle.get("entry", [])
    known = {entry.get("fullUrl") for entry in entries}
    for number, entry in enumerate(entries):
        resource = entry.get("resource", {})
        contained = {f"#{part.get('id')}" for part in resource.get("contained", [])}
        for path, reference in _references(resource, f"Bundle.entry.{number}.resource"):
            if reference not in known | contained and not is_relative_reference(reference):
                raise MappingRefused(
                    "report.fhir-invalid", path, "a reference must be Type/id or an entry of the bundle"
                )


def _references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "reference" and isinstance(part, str):
                yield f"{path}.reference", part
            else:
                yield from _references(part, f"{path}.{name}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _references(part, f"{path}.{number}")
