"""Are two arrivals the same order, and what does the second add? Pure (DESIGN §4a)."""

from dataclasses import replace

from fhir_bridge.rendezvous.survivor import authority
from mappings.code import Code
from mappings.order import Identifier, Order, OrderControl, PatientIdentity


def same_patient(known: PatientIdentity, arrived: PatientIdentity) -> bool:
    """One identifier in common, or the same FHIR resource, and no system in which both have other numbers.

    A shared value counts also where one side does not say its system (DESIGN §4a); see `proven`. Two authorities by name are two,
    rule or none.
    """
    if _differ(known, arrived):
        return False
    if known.reference and known.reference == arrived.reference:
        return True
    return any(_is_one(left, right) for left in known.identifiers for right in arrived.identifiers)


def proven(known: PatientIdentity, arrived: PatientIdentity) -> bool:
    """The same patient by more than a bare number, which another authority may have given to somebody else."""
    if known.reference and known.reference == arrived.reference:
        return True
    return any(
        _is_one(left, right) and left.system
        for left in known.identifiers
        for right in arrived.identifiers
        if right.system
    )


def contradicts(known: Order, arrived: Order) -> bool:
    """A key that both have, with different values: then they are two orders, whatever else agrees.

    A ServiceRequest is one order, and two are two, also under one accession number and for one procedure: each gets its result. Not
    the filler order number: fillers renumber. Of the orders under one number, `part` or else the procedure says which is meant.
    """
    if known.service_request and arrived.service_request:
        return known.service_request != arrived.service_request
    if _two(known.study_instance_uid, arrived.study_instance_uid) or _two(known.part, arrived.part):
        return True
    if known.part and not arrived.part and other_procedure(known.procedure, arrived.procedure):
        return True
    pairs = ((known.accession, arrived.accession), (known.placer, arrived.placer))
    return any(left and right and _same_system(left, right) and left.value != right.value for left, right in pairs)


def clashes(known: Order, arrived: Order) -> bool:
    """They share a number that only one patient's order can have. A shared filler order number counts where there is no other."""
    keys = [key for key in arrived.keys() if key.kind not in ("filler", "part", "task")]  # noqa: SIM118 - a method of Order
    return any(key in known.keys() for key in keys or arrived.keys())  # noqa: SIM118


def same_placer(known: Order, arrived: Order) -> bool:
    """The placer's own number for the order, in one system: what a change may correct everything else of."""
    left, right = known.placer, arrived.placer
    return bool(
        left and right and authority(left) and authority(left) == authority(right) and left.value == right.value
    )


def under_one_accession(known: Order, arrived: Order) -> bool:
    """One accession number or one study: several orders may be done together."""
    left, right = known.accession, arrived.accession
    if left and right and _agree(left, right):
        return True
    return bool(known.study_instance_uid) and known.study_instance_uid == arrived.study_instance_uid


def under_one_number(known: Order, arrived: Order) -> bool:
    """Siblings: several orders that came under one order number, see `Order.part`."""
    pairs = ((known.placer, arrived.placer), (known.filler, arrived.filler), (known.accession, arrived.accession))
    return any(left and right and _agree(left, right) for left, right in pairs)


def enriched(known: Order, arrived: Order) -> Order:
    """The known order with what only the second arrival says; nothing is overwritten."""
    patient = _patient(known.patient, arrived.patient)
    new = {name for name in _ELEMENTS if getattr(arrived, name) and not getattr(known, name)}
    trace = (*known.trace, *(line for line in arrived.trace if line[0] in new))
    merged = _merged(arrived, known, known)
    return replace(merged, patient=patient, event=known.event or arrived.event, trace=trace)


def restated(known: Order, arrived: Order) -> Order:
    """The order of a ServiceRequest as this stands now: the resource is the whole order, so what it says no more is gone.

    What another resource or message said besides stays, and the UID of an ImagingStudy goes before the one that was planned.
    """
    studied = known.came_from("study_instance_uid", "ImagingStudy")
    kept = {
        name
        for name in _ELEMENTS
        if getattr(known, name)
        and not known.came_from(name, "ServiceRequest")
        and (not getattr(arrived, name) or (studied and name == "study_instance_uid"))
    }
    elements = {name: getattr(known if name in kept else arrived, name) for name in _ELEMENTS}
    said = (line for line in arrived.trace if line[0] not in kept)
    others = (line for line in known.trace if line[0] in kept)
    return replace(
        known,
        **elements,
        patient=_as_read(known.patient, arrived.patient),
        priority=arrived.priority,
        event=arrived.event,
        related=arrived.related,
        trace=(*said, *others),
    )


def reread(known: Order, arrived: Order) -> Order:
    """The same version of a ServiceRequest once more: what HL7 v2 changed since stays; only its Patient may be another version."""
    return replace(known, patient=_as_read(known.patient, arrived.patient))


def changed(known: Order, arrived: Order) -> Order:
    """The order after a change (ORC-1 XO): what the change says, and for the rest what was known.

    Who the patient is, only ADT and the FHIR server's Patient change.
    """
    patient = _as_read(known.patient, arrived.patient)
    priority = arrived.priority if arrived.states("priority") else known.priority
    event = arrived.event or known.event
    return replace(_merged(known, arrived, known), patient=patient, priority=priority, event=event)


def demographics_differ(known: PatientIdentity, arrived: PatientIdentity) -> bool:
    """Both say a birth date or a sex, and not the same."""
    pairs = ((known.birth_date, arrived.birth_date), (known.sex, arrived.sex))
    return any(left and right and left != right for left, right in pairs)


def needs_restart(before: Order, after: Order) -> bool:
    """A change of the patient, of what is to be done, or of where the images are: what was computed may be wrong."""
    left, right = before.patient, after.patient
    return (
        (left.birth_date, left.sex) != (right.birth_date, right.sex)
        or _named(before.procedure) != _named(after.procedure)
        or before.modality != after.modality
        or before.study_instance_uid != after.study_instance_uid
        or before.accession != after.accession
    )


_ELEMENTS = (
    "placer",
    "filler",
    "accession",
    "study_instance_uid",
    "procedure",
    "modality",
    "reason",
    "requested_at",
    "service_request",
    "account",
    "visit",
    "group",
    "requested_procedure_id",
    "scheduled_step_id",
    "station_ae_title",
    "scheduled_at",
)


def _merged(weaker: Order, stronger: Order, known: Order) -> Order:
    has_come = OrderControl.NEW in (weaker.control, stronger.control)
    elements = {name: getattr(stronger, name) or getattr(weaker, name) for name in _ELEMENTS}
    return replace(known, control=OrderControl.NEW if has_come else known.control, **elements)


def _as_read(known: PatientIdentity, arrived: PatientIdentity) -> PatientIdentity:
    """The known patient; birth date and sex as the FHIR server's Patient says, where that is the arrival."""
    patient = _patient(known, arrived)
    if not arrived.reference or patient is known:
        return patient
    return replace(patient, birth_date=arrived.birth_date or patient.birth_date, sex=arrived.sex or patient.sex)


def _patient(known: PatientIdentity, arrived: PatientIdentity) -> PatientIdentity:
    """The known patient with what only the arrival says, where it surely is the same one."""
    if not proven(known, arrived):
        return known
    others = tuple(dict.fromkeys(i for i in arrived.identifiers if not _among(i, known.identifiers)))
    return replace(
        known,
        identifiers=known.identifiers + others,
        birth_date=known.birth_date or arrived.birth_date,
        sex=known.sex or arrived.sex,
        reference=known.reference or arrived.reference,
    )


def _named(procedure: Code | None) -> tuple[str, str]:
    """What a procedure is, without how it is spelled: its code, else its text."""
    if procedure is None:
        return "", ""
    return (procedure.system, procedure.code) if procedure.code else ("", procedure.display)


def other_procedure(known: Code | None, arrived: Code | None) -> bool:
    """Both are codes of one system, and not the same."""
    if known is None or arrived is None or known.system != arrived.system:
        return False
    return _two(known.code, arrived.code)


def _two(left: str, right: str) -> bool:
    return bool(left and right and left != right)


def same_procedure(known: Code | None, arrived: Code | None) -> bool:
    """One code of one system."""
    return bool(known and arrived and known.code) and _named(known) == _named(arrived)


def _differ(known: PatientIdentity, arrived: PatientIdentity) -> bool:
    """An authority of which both sides have numbers, and none in common."""
    left, right = _by_authority(known), _by_authority(arrived)
    return any(not left[kind] & right[kind] for kind in left.keys() & right.keys())


def _by_authority(patient: PatientIdentity) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for identifier in patient.identifiers:
        if authority(identifier):
            found.setdefault((authority(identifier), identifier.type), set()).add(identifier.value)
    return found


def _among(identifier: Identifier, others: tuple[Identifier, ...]) -> bool:
    return any(identifier.value == other.value and identifier.system == other.system for other in others)


def _is_one(left: Identifier, right: Identifier) -> bool:
    """One number of a patient, as far as both say whose it is."""
    if left.system and right.system:
        return left.value == right.value and left.system == right.system
    two = _two(left.namespace, right.namespace) or _two(left.universal_id, right.universal_id)
    return left.value == right.value and not two


def _agree(left: Identifier, right: Identifier) -> bool:
    return left.value == right.value and _same_system(left, right)


def _same_system(left: Identifier, right: Identifier) -> bool:
    """Equal, or unknown on one side."""
    return not left.system or not right.system or left.system == right.system
