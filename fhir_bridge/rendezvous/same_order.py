"""Are two arrivals the same order, and what does the second add? Pure (DESIGN §4a)."""

from dataclasses import replace

from mappings.order import Identifier, Order, PatientIdentity


def same_patient(known: PatientIdentity, arrived: PatientIdentity) -> bool:
    """One identifier in common, or the same FHIR resource, and no system in which both have other numbers.

    A shared value counts also where one side does not say its system (DESIGN §4a); see `proven`.
    """
    if _differ(known, arrived):
        return False
    if known.reference and known.reference == arrived.reference:
        return True
    return any(_agree(left, right) for left in known.identifiers for right in arrived.identifiers)


def proven(known: PatientIdentity, arrived: PatientIdentity) -> bool:
    """The same patient by more than a bare number, which another authority may have given to somebody else."""
    if known.reference and known.reference == arrived.reference:
        return True
    return any(
        _agree(left, right) and left.system
        for left in known.identifiers
        for right in arrived.identifiers
        if right.system
    )


def contradicts(known: Order, arrived: Order) -> bool:
    """A key that both have, with different values: then they are two orders, whatever else agrees."""
    if (
        known.study_instance_uid
        and arrived.study_instance_uid
        and known.study_instance_uid != arrived.study_instance_uid
    ):
        return True
    pairs = ((known.accession, arrived.accession), (known.placer, arrived.placer))
    return any(left and right and _same_system(left, right) and left.value != right.value for left, right in pairs)


def same_placer(known: Order, arrived: Order) -> bool:
    """The placer's own number for the order, in one system: what a change may correct everything else of."""
    left, right = known.placer, arrived.placer
    return bool(left and right and left.system and left.system == right.system and left.value == right.value)


def enriched(known: Order, arrived: Order) -> Order:
    """The known order with what only the second arrival says; nothing is overwritten."""
    return _merged(arrived, known, known)


def changed(known: Order, arrived: Order) -> Order:
    """The order after a change (ORC-1 XO): what the change says, and for the rest what was known."""
    return replace(_merged(known, arrived, known), priority=arrived.priority)


def _merged(weaker: Order, stronger: Order, known: Order) -> Order:
    return replace(
        known,
        patient=_patient(weaker.patient, stronger.patient, known.patient)
        if proven(weaker.patient, stronger.patient)
        else known.patient,
        placer=stronger.placer or weaker.placer,
        filler=stronger.filler or weaker.filler,
        accession=stronger.accession or weaker.accession,
        study_instance_uid=stronger.study_instance_uid or weaker.study_instance_uid,
        procedure=stronger.procedure or weaker.procedure,
        modality=stronger.modality or weaker.modality,
        reason=stronger.reason or weaker.reason,
        requested_at=stronger.requested_at or weaker.requested_at,
        service_request=stronger.service_request or weaker.service_request,
    )


def _patient(weaker: PatientIdentity, stronger: PatientIdentity, known: PatientIdentity) -> PatientIdentity:
    first = known.identifiers
    others = tuple(i for side in (stronger, weaker) for i in side.identifiers if not _among(i, first))
    return PatientIdentity(
        identifiers=first + tuple(dict.fromkeys(others)),
        birth_date=stronger.birth_date or weaker.birth_date,
        sex=stronger.sex or weaker.sex,
        reference=stronger.reference or weaker.reference,
    )


def _differ(known: PatientIdentity, arrived: PatientIdentity) -> bool:
    """A system in which both sides have numbers, and none in common."""
    left, right = _by_system(known), _by_system(arrived)
    return any(not left[kind] & right[kind] for kind in left.keys() & right.keys())


def _by_system(patient: PatientIdentity) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for identifier in patient.identifiers:
        if identifier.system:
            found.setdefault((identifier.system, identifier.type), set()).add(identifier.value)
    return found


def _among(identifier: Identifier, others: tuple[Identifier, ...]) -> bool:
    return any(identifier.value == other.value and identifier.system == other.system for other in others)


def _agree(left: Identifier, right: Identifier) -> bool:
    return left.value == right.value and _same_system(left, right)


def _same_system(left: Identifier, right: Identifier) -> bool:
    """Equal, or unknown on one side."""
    return not left.system or not right.system or left.system == right.system
