"""What we say of ourselves: the CapabilityStatement (FHIR R4 §5.2), as a server of tables and as a client of the hospital's server."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mappings.fhir_elements import Json

CHANGED = "2026-11-29"  # the day when what this file states last changed
FORMATS = ("application/fhir+json", "application/fhir+xml")


@dataclass(frozen=True, slots=True)
class Use:
    """What we do with a resource type on the hospital's server. `interactions` are codes of TypeRestfulInteraction."""

    kind: str
    interactions: tuple[str, ...]


def uses(
    read: Iterable[str], searched: Iterable[str], written: Iterable[str], updated: Iterable[str] = ()
) -> tuple[Use, ...]:
    """By type, in alphabetical order. `written`: created and updated; `updated`: only that."""
    found: dict[str, dict[str, None]] = {}
    for kinds, interactions in (
        (read, ("read",)),
        (searched, ("search-type",)),
        (written, ("create", "update")),
        (updated, ("update",)),
    ):
        for kind in kinds:
            found.setdefault(kind, {}).update(dict.fromkeys(interactions))
    return tuple(Use(kind, tuple(interactions)) for kind, interactions in sorted(found.items()))


def capability_statement(
    version: str, base_url: str, searches: Mapping[str, Sequence[str]], client: Iterable[Use]
) -> Json:
    """`searches`: type that we serve -> its search parameters."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": CHANGED,
        "publisher": "fhir-bridge",
        "kind": "instance",
        "software": {"name": "fhir-bridge", "version": version},
        "implementation": {"description": "Integration server for imaging AI", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": list(FORMATS),
        "rest": [_server(searches), _client(client)],
    }


def _server(searches: Mapping[str, Sequence[str]]) -> Json:
    return {
        "mode": "server",
        "documentation": (
            "Code tables only: no patient's data is served here. Notifications of Subscriptions (channel rest-hook) are taken at "
            "/hooks/fhir/{orders|studies|tasks}, with a bearer token, and answered 204 without a body once they are stored."
        ),
        "resource": [
            {
                "type": kind,
                "interaction": [{"code": "read"}, {"code": "search-type"}],
                "versioning": "no-version",
                "searchParam": [{"name": name, "type": "token" if name == "_id" else "uri"} for name in names],
            }
            for kind, names in sorted(searches.items())
        ],
    }


def _client(client: Iterable[Use]) -> Json:
    return {
        "mode": "client",
        "documentation": (
            "On the hospital's FHIR server. Results are written as one transaction, or one after the other where the server takes "
            "none; a ServiceRequest or Patient is never written."
        ),
        "resource": [
            {"type": use.kind, "interaction": [{"code": code} for code in use.interactions]} for use in client
        ],
        "interaction": [{"code": "transaction"}],
    }
