"""Who made an edition of a report, or took it back, from what (R4 §6.3): one Provenance for each of these acts, never changed again."""

from collections.abc import Sequence

from mappings import code_system
from mappings.code import Code
from mappings.fhir_elements import Json, concept, dicom_uid, full_url, identifier, instant, without_empty
from mappings.fhir_observations import own_meta
from mappings.fhir_publisher import Publisher
from mappings.finding import SIGNED, Report

_AGENTS = {"author": "Author", "verifier": "Verifier", "legal": "Legal Authenticator", "performer": "Performer"}
_SIGNING = Code("LA", code_system.DOCUMENT_COMPLETION, "legally authenticated")
_NULLIFYING = Code("NULLIFY", code_system.DATA_OPERATION, "nullify")


def provenance_id(report: Report) -> str:
    """Of this very act: a late copy of an earlier one can set nothing back, and a repeated one changes nothing."""
    moment = "".join(character for character in instant(report.act_at) if character.isdigit())
    return f"ai-{report.job}.{moment}"


def provenance_entry(
    report: Report, publisher: Publisher, *, device: str, targets: Sequence[str], sources: Sequence[Json]
) -> Json:
    """By a client id: a Provenance made by POST would be doubled by each repetition.

    `device` is the model's, where one spoke; `sources` are the order and the study, to which the images and their digests are added.
    """
    images = [{"identifier": dicom_uid(uid)} for uid in report.instance_uids]
    digests = [{"identifier": identifier(publisher.digest_system, digest)} for digest in report.input_digests]
    what = [] if report.is_retracted else [*sources, *images, *digests]
    reason = report.decision.reason if report.decision else ""
    provenance = without_empty(
        (
            ("resourceType", "Provenance"),
            ("id", provenance_id(report)),
            ("meta", own_meta()),
            ("target", [{"reference": url} for url in targets]),
            ("recorded", instant(report.act_at)),
            ("reason", [{"text": reason}] if reason else []),
            ("activity", _activity(report)),
            ("agent", _agents(report, publisher, device)),
            ("entity", [{"role": "source", "what": source} for source in what]),
        )
    )
    name = provenance_id(report)
    request = {"method": "PUT", "url": f"Provenance/{name}"}
    return {"fullUrl": full_url("Provenance", publisher.job_system, name), "resource": provenance, "request": request}


def _activity(report: Report) -> Json:
    if report.status in SIGNED:
        return concept(_SIGNING)
    return concept(_NULLIFYING) if report.is_retracted else {}


def _agents(report: Report, publisher: Publisher, device: str) -> list[Json]:
    """The model on behalf of the Organization; who signed, verifies it; of a retraction, who ordered it and nobody else."""
    person = report.decision.by if report.decision else ""
    if report.is_retracted:
        return [{"type": _agent("performer"), "who": {"reference": person}}]
    who = {"reference": device} if device else publisher.reference()
    author = {"type": _agent("author"), "who": who, **({"onBehalfOf": publisher.reference()} if device else {})}
    if not person:
        return [author]
    return [author, {"type": _agent("verifier"), "role": [_agent("legal")], "who": {"reference": person}}]


def _agent(code: str) -> Json:
    return concept(Code(code, code_system.PROVENANCE_AGENT, _AGENTS[code]))
