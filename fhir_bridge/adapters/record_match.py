"""Which Patient, which ServiceRequest and which ImagingStudy is meant: the rules, without a wire (DESIGN §4a). Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from fhir_bridge.errors import Refused
from fhir_bridge.rendezvous.merged_patient import MAX_MERGES, survivor_of
from fhir_bridge.study import Resource
from mappings.fhir_elements import local_reference
from mappings.fhir_reading import object_of, objects_of, text_of
from mappings.order import Identifier, Order, PatientIdentity

Search = Callable[[Identifier], Iterable[Resource]]
Read = Callable[[str], Resource]
IsOwn = Callable[[str], bool]

_SEXES = ("male", "female", "other")


@dataclass(frozen=True, slots=True)
class OnePatient:
    """`Patient/id` of the survivor, then of those merged into it. `is_cut`: it names more of them than are looked at."""

    references: tuple[str, ...]
    is_cut: bool = False


def reference_to(resource: Resource) -> str:
    """`Type/id`."""
    return f"{resource['resourceType']}/{resource['id']}"


def subject_of(resource: Resource) -> str:
    """`Patient/id` that the resource is about; empty where it is named by identifier only."""
    subject = resource.get("subject") or resource.get("patient") or {}
    return local_reference(str(subject.get("reference", "")))


def carries(resource: Resource, identifier: Identifier) -> bool:
    """Whether the identifier stands in the resource, exactly: a server may have ignored the search parameter or the case."""
    return any(
        kept.get("value") == identifier.value and (not identifier.system or kept.get("system") == identifier.system)
        for kept in resource.get("identifier", ())
    )


def patient_of(identity: PatientIdentity, search: Search, read: Read) -> Resource:
    """The one Patient that is meant.

    By the reference of the FHIR door, else by identifiers whose system is known, else by value alone if birth date and sex prove it. A
    reference beside identifiers is proven by them: the order may have come by two doors. Nobody has another number than the order in one
    of its systems. A merged Patient leads to its survivor; a server
    that has not heard of the merge yet knows the patient by a former number. Of several Patients the one in use counts.
    Raises Refused `patient.not-found`, `patient.ambiguous`, `patient.mismatch`, `patient.inactive`.
    """
    wanted, proof_needed = _numbers(identity.identifiers)
    if identity.reference:
        candidates = [read(identity.reference)]
        if candidates[0]["resourceType"] != "Patient":
            raise Refused("patient.not-found", "subject", "the order is not about a Patient")
    else:
        candidates = _bearing(wanted, search)
        if not candidates and identity.former:
            wanted, proof_needed = _numbers(identity.former)
            candidates = _bearing(wanted, search)
    survivors = {survivor["id"]: survivor for survivor in (survivor_of(patient, read) for patient in candidates)}
    if len(survivors) > 1:
        survivors = {
            name: patient for name, patient in survivors.items() if patient.get("active") is not False
        } or survivors
    if not survivors:
        raise Refused("patient.not-found", "Patient.identifier", "the FHIR server has no patient with this identifier")
    if len(survivors) > 1:
        raise Refused("patient.ambiguous", "Patient.identifier", f"{len(survivors)} patients have these identifiers")
    (patient,) = survivors.values()
    if wanted:
        _require_numbers(wanted, (*candidates, patient))
    _compare(identity, patient, proof_needed=proof_needed)
    if patient.get("active") is False:
        raise Refused(
            "patient.inactive", "Patient.active", "the patient is no longer in use, and nobody took its place"
        )
    return patient


def _numbers(identifiers: Sequence[Identifier]) -> tuple[list[Identifier], bool]:
    """Those whose system is known, else all, which then need proof."""
    known = [identifier for identifier in identifiers if identifier.system]
    return known or list(identifiers), bool(identifiers) and not known


def _bearing(wanted: Sequence[Identifier], search: Search) -> list[Resource]:
    return [patient for identifier in wanted for patient in search(identifier) if carries(patient, identifier)]


def _require_numbers(wanted: Sequence[Identifier], patients: Iterable[Resource]) -> None:
    """One of the order's identifiers must be there, and in no system of the order only others; of a merged patient, both resources count."""
    numbers = {"identifier": [number for patient in patients for number in patient.get("identifier", ())]}
    agreed = {identifier.system for identifier in wanted if carries(numbers, identifier)}
    in_both = {identifier.system for identifier in wanted} & {number.get("system") for number in numbers["identifier"]}
    if not agreed or in_both - agreed:
        raise Refused("patient.mismatch", "Patient.identifier", "the resource has other identifiers than the order")


def _compare(identity: PatientIdentity, patient: Resource, *, proof_needed: bool) -> None:
    """Birth date and sex must not contradict; where only a bare value led here, both must agree."""
    birth = _agrees_on_birth(identity.birth_date, str(patient.get("birthDate", "")))
    sex = _agrees_on_sex(identity.sex, str(patient.get("gender", "")))
    for agrees, where in ((birth, "Patient.birthDate"), (sex, "Patient.gender")):
        if agrees is False:
            raise Refused("patient.mismatch", where, "the FHIR server says otherwise than the order")
        if agrees is None and proof_needed:
            raise Refused(
                "patient.mismatch", where, "an identifier without a known system needs birth date and sex to agree"
            )


def _agrees_on_birth(ordered: date | None, kept: str) -> bool | None:
    """None: not both known to the day. A partial date (R4 §2.24.0.1) can contradict, but not prove."""
    if ordered is None or not kept:
        return None
    if not ordered.isoformat().startswith(kept):
        return False
    return True if len(kept) == len("2020-01-01") else None


def _agrees_on_sex(ordered: str, kept: str) -> bool | None:
    if ordered not in _SEXES or kept not in _SEXES:
        return None
    return ordered == kept


def merged_into(survivor: Resource, read: Read, is_own: IsOwn = lambda reference: True) -> OnePatient:
    """The patient with all that it was before, proven by both sides (R4 §8.1.3): the later Patient names the earlier by `replaces`, and the
    earlier that one alone by `replaced-by`. In a chain, too; at most MAX_MERGES are looked at in all.

    What only one side says is not followed, nor a link to another server or to what is gone. Raises what `read` raises of the others.
    """
    proven = [reference_to(survivor)]
    known = {proven[0]: survivor}
    is_cut = False
    for later in proven:  # grows on the way
        for earlier in _linked(known[later], "replaces", is_own):
            if not earlier.startswith("Patient/") or earlier in proven:
                continue
            if earlier not in known:
                if len(known) > MAX_MERGES:
                    is_cut = True
                    continue
                known[earlier] = _read_if_there(earlier, read)
            if _linked(known[earlier], "replaced-by", is_own).keys() == {later}:
                proven.append(earlier)
    return OnePatient(tuple(proven), is_cut)


def _linked(patient: Resource, kind: str, is_own: IsOwn) -> dict[str, None]:
    """`Type/id` of the links of a kind, in order, each once; one to elsewhere, or to nobody by name, is the empty one."""
    others = (object_of(link.get("other")) for link in objects_of(patient, "link") if link.get("type") == kind)
    texts = (text_of(other, "reference") for other in others)
    return dict.fromkeys(local_reference(text) if is_own(text) else "" for text in texts)


def _read_if_there(reference: str, read: Read) -> Resource:
    try:
        return read(reference)
    except Refused as refusal:
        if refusal.code != "fhir.not-found":
            raise
        return {}


def service_request_of(order: Order, patient: str, search: Search, read: Read) -> str:
    """`ServiceRequest/id` of the order: the one it names, else by placer, filler or accession number; empty where there is none, or not one.

    `patient` is a survivor (see `patient_of`): a request of one who was merged into it is the patient's too. Raises Refused `patient.mismatch` where the order's own ServiceRequest is about someone else.
    """
    if order.service_request:
        request = read(order.service_request)
        if not subject_of(request):
            return ""  # by identifier or name only: nobody can tell whose it is
        if not is_about(request, patient, order.patient.former, read):
            raise Refused("patient.mismatch", "ServiceRequest.subject", "the order is about another patient")
        return reference_to(request)
    for identifier in (order.placer, order.filler, order.accession):
        if identifier is None:
            continue
        found = [
            request
            for request in search(identifier)
            if carries(request, identifier) and request.get("status") != "entered-in-error"
        ]
        ours = {reference_to(request) for request in found if is_about(request, patient, order.patient.former, read)}
        if len(ours) == 1:
            return ours.pop()
        if identifier.system and not ours and any(subject_of(request) for request in found):
            raise Refused(
                "patient.mismatch", "ServiceRequest.subject", "the order's identifier belongs to another patient's"
            )
    return ""


def is_about(resource: Resource, patient: str, former: Sequence[Identifier], read: Read) -> bool:
    """Whether the subject is this very patient, or was merged into it: on the server, or by HL7 v2 from one of the `former` numbers."""
    subject = subject_of(resource)
    if subject == patient or not subject.startswith("Patient/"):
        return subject == patient
    try:
        other = read(subject)
        if any(number.system and carries(other, number) for number in former):
            return True
        return reference_to(survivor_of(other, read)) == patient
    except Refused as refusal:
        if refusal.code != "fhir.not-found":
            raise
        return False  # gone, or never there


def study_of(patient: str, former: Sequence[Identifier], found: Iterable[Resource], read: Read) -> str:
    """`ImagingStudy/id` among those of one study UID: the first that was made. Raises Refused `patient.mismatch`.

    One of a patient who was merged into this one is the patient's, too.
    """
    studies = sorted(found, key=lambda study: (str(study.get("meta", {}).get("lastUpdated", "")), str(study["id"])))
    if any(subject_of(study) and not is_about(study, patient, former, read) for study in studies):
        raise Refused("patient.mismatch", "ImagingStudy.subject", "the study belongs to another patient")
    return reference_to(studies[0]) if studies else ""
