"""We as a FHIR server: `/fhir/metadata`, and our tables as ConceptMaps and CodeSystems. Read-only; no patient's data is here.

Errors are OperationOutcomes (R4 §3.1.0.1.5). Formats: JSON and XML by `_format`, else `Accept` (§3.1.0.1.9, §3.1.0.1.11); anything else is a 406.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from fhir_bridge.api.capability import FORMATS, Use, capability_statement
from fhir_bridge.errors import attempt
from mappings.concept_map import code_systems, concept_maps
from mappings.fhir_elements import Json, percent_encoded

_JSON, _XML = FORMATS
_ALIASES = {
    _JSON: _JSON, "application/json": _JSON, "text/json": _JSON, "json": _JSON,
    _XML: _XML, "application/xml": _XML, "text/xml": _XML, "xml": _XML,
}  # fmt: skip
_MIME_TYPES = [alias for alias in _ALIASES if "/" in alias]
_SEARCHES: Mapping[str, tuple[str, ...]] = {
    "ConceptMap": ("_id", "url", "source-system", "target-system"),
    "CodeSystem": ("_id", "url"),
}
_RESULT_PARAMETERS = frozenset({"_format", "_count", "_summary", "_pretty"})
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_ISSUES = {
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    400: "invalid",
    413: "too-long",
    503: "transient",
}


class _Said(Exception):
    """An answer other than the resource that was asked for."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


def fhir_api(version: str, base_url: str, client: Iterable[Use]) -> Blueprint:
    """`base_url` is where we are reached from outside, with `/fhir`; empty: where the request reached us. `version` is this program's."""
    blueprint = Blueprint("fhir_api", __name__, url_prefix="/fhir")
    served: dict[str, dict[str, Json]] = {"ConceptMap": concept_maps(version), "CodeSystem": code_systems(version)}
    client = tuple(client)

    def base() -> str:
        return base_url or f"{request.host_url}fhir"

    @blueprint.get("/metadata")
    def metadata() -> Response:
        return _answer(lambda: capability_statement(version, base(), _SEARCHES, client))

    @blueprint.get("/<any(ConceptMap, CodeSystem):kind>")
    def search(kind: str) -> Response:
        return _answer(lambda: _searchset(served[kind], kind, base()))

    @blueprint.get("/<any(ConceptMap, CodeSystem):kind>/<resource>")
    def read(kind: str, resource: str) -> Response:
        return _answer(lambda: _found(served[kind], resource))

    @blueprint.route("/", methods=_METHODS)
    @blueprint.route("/<path:rest>", methods=_METHODS)
    def anything_else(rest: str = "") -> Response:
        there = rest == "metadata" or rest.split("/")[0] in served
        status, words = (405, "read only") if there else (404, "not here: see metadata")
        return _outcome(status, words)

    @blueprint.errorhandler(HTTPException)
    def said_no(error: HTTPException) -> Response:
        return _outcome(error.code or 500, error.name)

    return blueprint


def _answer(make: Callable[[], Json]) -> Response:
    try:
        wanted = _format()
        return _response(make(), wanted, 200)
    except _Said as said:
        return _outcome(said.status, said.words)


def _format() -> str:
    """The format that is asked for; JSON where nothing is said, and for a browser, which takes anything."""
    if asked := request.args.get("_format", "").replace(" ", "+"):  # an unescaped + of the media type
        if asked.partition(";")[0] not in _ALIASES:
            raise _Said(406, "formats: " + ", ".join(FORMATS))
        return _ALIASES[asked.partition(";")[0]]
    best = request.accept_mimetypes.best_match(_MIME_TYPES) if request.accept_mimetypes else _JSON
    if best is None:
        raise _Said(406, "formats: " + ", ".join(FORMATS))
    return _ALIASES[best]


def _found(resources: Mapping[str, Json], resource: str) -> Json:
    if resource not in resources:
        raise _Said(404, "no such resource")
    return resources[resource]


def _searchset(resources: Mapping[str, Json], kind: str, base_url: str) -> Json:
    """All matches in one page: there are a few dozen. What we do not know is ignored, unless `Prefer: handling=strict` (R4 §3.1.1.7)."""
    asked = [(name, value) for name, value in request.args.items(multi=True) if name not in _RESULT_PARAMETERS]
    used = [(name, value) for name, value in asked if name in _SEARCHES[kind]]
    if len(used) < len(asked) and "handling=strict" in request.headers.get("Prefer", ""):
        raise _Said(400, "search parameters: " + ", ".join(_SEARCHES[kind]))
    found = [one for one in resources.values() if all(_matches(one, name, value) for name, value in used)]
    query = "&".join(f"{name}={percent_encoded(value)}" for name, value in used)
    entries = [
        {"fullUrl": f"{base_url}/{kind}/{one['id']}", "resource": one, "search": {"mode": "match"}} for one in found
    ]
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": [{"relation": "self", "url": f"{base_url}/{kind}" + (f"?{query}" if query else "")}],
        **({"entry": entries} if entries else {}),
    }


def _matches(resource: Json, name: str, value: str) -> bool:
    """A comma is OR (R4 §3.1.1.4.17)."""
    values = value.split(",")
    if name == "_id":
        return resource["id"] in values
    if name == "url":
        return resource["url"] in values
    return any(group.get(name.removesuffix("-system")) in values for group in resource["group"])


def _outcome(status: int, words: str) -> Response:
    """An OperationOutcome, in JSON where the asked format is what cannot be had."""
    issue = {"severity": "error", "code": _ISSUES.get(status, "exception"), "diagnostics": words}
    wanted = attempt(_format)
    return _response({"resourceType": "OperationOutcome", "issue": [issue]}, wanted.value or _JSON, status)


def _response(resource: Json, wanted: str, status: int) -> Response:
    body = json.dumps(resource, ensure_ascii=False).encode() if wanted == _JSON else _xml(resource)
    return Response(body, status, content_type=f"{wanted}; charset=utf-8; fhirVersion=4.0")


def _xml(resource: Json) -> bytes:
    """By `fhir.resources`, whose import takes seconds: only for whoever asks for XML."""
    from fhir.resources.R4B import get_fhir_model_class

    model: Any = get_fhir_model_class(resource["resourceType"])
    text: bytes = model.model_validate(resource).model_dump_xml()
    return text
