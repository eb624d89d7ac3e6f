"""What is known of the patient, as a job's page shows it: how much, how it was had, how old. No values, no codes, no dates."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fhir_bridge.study import ClinicalContext, ContextSource
from mappings.clinical_facts import facts_of

_WORDS: Mapping[str, tuple[str, tuple[str, ...]]] = {  # resource type -> what it is, and the facts that come of it
    "ServiceRequest": ("Reason for the order", ("reasons",)),
    "Encounter": ("Visits", ("visits",)),
    "Condition": ("Problems", ("problems",)),
    "AllergyIntolerance": ("Allergies", ("allergies",)),
    "Observation": ("Laboratory results and vital signs", ("laboratory", "vital_signs")),
    "MedicationRequest": ("Medications ordered", ("medications",)),
    "MedicationStatement": ("Medications taken", ("medications",)),
    "Procedure": ("Procedures", ("procedures",)),
    "Immunization": ("Vaccinations", ("vaccinations",)),
    "DiagnosticReport": ("Prior reports", ("reports",)),
    "ImagingStudy": ("Prior studies", ("studies",)),
}
_HOW: Mapping[str, str] = {
    "search": "searched",
    "everything": "by $everything",
    "reference": "named by the order",
    "not-offered": "the server does not offer it",
    "refused": "the server does not show it",
}


@dataclass(frozen=True, slots=True)
class KnownRow:
    """One line of the panel. `newest`: when the newest was, None where nothing is dated. `code` is that of the refusal."""

    words: str
    count: int
    is_truncated: bool
    how: str
    code: str
    newest: datetime | None


def rows_of(context: ClinicalContext) -> tuple[KnownRow, ...]:
    """A line for each type that was asked for. Only facts are counted: what was refuted or not done is none."""
    facts = facts_of(context.others)
    counts = dict.fromkeys(_WORDS, 0)
    for kind, (_, names) in _WORDS.items():
        sources = (fact.source for name in names for fact in getattr(facts, name))
        counts[kind] = sum(source.startswith(f"{kind}/") for source in sources)
    return tuple(
        _row(words, counts[kind], context.sources[kind])
        for kind, (words, _) in _WORDS.items()
        if kind in context.sources
    )


def _row(words: str, count: int, source: ContextSource) -> KnownRow:
    return KnownRow(words, count, source.is_truncated, _HOW[source.how], source.code, _moment(source.newest))


def _moment(text: str) -> datetime | None:
    """The beginning of a FHIR date or dateTime of any precision, in UTC where it has no zone."""
    try:
        at = datetime.fromisoformat(text + "-01-01"[len(text) - 4 :] if len(text) in (4, 7) else text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
