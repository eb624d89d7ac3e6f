"""What tells people that a report is there: the Communication to who ordered it (R4 §12.3), and the order's Task (R4 §12.10)."""

from mappings.fhir_elements import Json, condition, full_url, identifier, instant, local_reference, without_empty
from mappings.fhir_observations import own_meta
from mappings.fhir_publisher import Publisher
from mappings.finding import SIGNED, Report, ReportOutcome, ReportStatus
from mappings.narrative import narrative_of

_OPEN_TASK = ("requested", "received", "accepted", "ready", "in-progress")  # of these a Task may be completed
_WORDS = {
    ReportStatus.PRELIMINARY: "A preliminary AI result of the ordered images is there. No person has signed it.",
    ReportStatus.RETRACTED: "The AI result of the ordered images was withdrawn: it was entered in error. Disregard it.",
}
_NOT_ANALYSED = "There is no AI result of the ordered images: they were not analysed. The report says why."


def communication_entry(report: Report, publisher: Publisher, about: str) -> Json:
    """One for each edition of the report; `about` is the DiagnosticReport. What was found stands in it only once a person signed."""
    words = narrative_of(report).conclusion() if report.status in SIGNED else _WORDS[report.status]
    if report.outcome is ReportOutcome.NOT_ANALYSED and not report.is_retracted:
        words = _NOT_ANALYSED
    name = f"{report.job}/{report.status}/{instant(report.act_at)}"
    communication = without_empty(
        (
            ("resourceType", "Communication"),
            ("meta", own_meta()),
            ("identifier", [identifier(publisher.communication_system, name)]),
            ("basedOn", [{"reference": report.service_request}] if report.service_request else []),
            ("status", "completed"),
            ("subject", {"reference": report.patient}),
            ("about", [{"reference": about}]),
            ("encounter", {"reference": report.encounter} if report.encounter else {}),
            ("sent", instant(report.act_at)),
            ("recipient", [{"reference": report.requester}]),
            ("payload", [{"contentString": words}]),
        )
    )
    return {
        "fullUrl": full_url("Communication", publisher.communication_system, name),
        "resource": communication,
        "request": {
            "method": "POST",
            "url": "Communication",
            "ifNoneExist": condition(publisher.communication_system, name),
        },
    }


def is_open_task(task: Json, service_request: str) -> bool:
    """Whether the Task may be completed, and is of this order."""
    focus = local_reference(str(task.get("focus", {}).get("reference", "")))
    return task.get("status") in _OPEN_TASK and bool(focus) and focus == service_request


def completed_task(task: Json, report: Report, about: str) -> Json:
    """The Task, done, with the report as what came of it."""
    output = {"type": {"text": "imaging AI report"}, "valueReference": {"reference": about}}
    changes = {"status": "completed", "lastModified": instant(report.act_at)}
    return task | changes | {"output": [*task.get("output", ()), output]}
