"""Whose a patient number is today: what merges make of the numbers that an order names (HL7 v2.5.1 §3.6.2)."""

from collections.abc import Iterable
from dataclasses import replace

from fhir_bridge.ports import Ledger
from mappings.order import Identifier, Order, PatientIdentity

UNCERTAIN_MOVE = "order.move-uncertain"  # a number, account or visit moved to another patient; this order with it?


def authority(number: Identifier) -> str:
    """Who gave the number: its FHIR identifier system, else its namespace (HD.1), else empty: a bare number."""
    return number.system or number.namespace


def same_number(left: Identifier, right: Identifier) -> bool:
    """One number of one authority, or one bare number, which proves nothing: see `may_be`."""
    return left.value == right.value and authority(left) == authority(right)


def may_be(left: Identifier, right: Identifier) -> bool:
    """The same number, or one whose authority is not said on one side, or had no rule when the other one had."""
    if left.value != right.value:
        return False
    if not authority(left) or not authority(right) or authority(left) == authority(right):
        return True
    return left.namespace == right.namespace and not (left.system and right.system)


def among(number: Identifier, others: Iterable[Identifier]) -> bool:
    """Whether it is one of the others, authority and all."""
    return any(same_number(number, other) for other in others)


def has_or_had(patient: PatientIdentity, numbers: Iterable[Identifier]) -> bool:
    """Whether one of the numbers is, was, or may be the patient's: what follows from that is for the caller to judge."""
    own = (*patient.identifiers, *patient.former)
    return any(may_be(number, mine) for number in numbers for mine in own)


def bare(number: Identifier) -> Identifier:
    """The number without its authority: what one said about a bare number makes no more of it than a bare number."""
    return Identifier(number.value, type=number.type)


def renumbered(patient: PatientIdentity, old: Identifier, new: Identifier, *, keep: bool = True) -> PatientIdentity:
    """The patient under the new number in place of the old one, which is a former number now unless `keep` is false.

    The resource that the FHIR door named is forgotten: the number says who is meant.
    """
    numbers: list[Identifier] = []
    for number in patient.identifiers:
        current = new if same_number(number, old) else number
        if not among(current, numbers):
            numbers.append(current)
    former = (*patient.former, old) if keep and not among(old, patient.former) else patient.former
    still = tuple(number for number in former if not among(number, numbers))
    return replace(patient, identifiers=tuple(numbers), former=still, reference="")


def merged_numbers(prior: PatientIdentity, now: PatientIdentity) -> tuple[tuple[Identifier, Identifier], ...]:
    """Each number of the prior patient that is not the patient's own still, with the one that takes its place.

    That is the one of the same authority and type, else of the same authority, else the patient's first.
    """
    return tuple(
        (old, max(now.identifiers, key=lambda new: (authority(new) == authority(old), new.type == old.type)))
        for old in prior.identifiers
        if now.identifiers and not among(old, now.identifiers)
    )


def restated(known: PatientIdentity, said: PatientIdentity, *, numbers: bool) -> PatientIdentity:
    """The patient as an ADT message describes him: birth date and sex where it has them, further `numbers` if they are surely his."""
    further = (number for number in said.identifiers if numbers and not among(number, known.identifiers))
    identifiers = known.identifiers + tuple(dict.fromkeys(further))
    return replace(
        known,
        identifiers=identifiers,
        birth_date=said.birth_date or known.birth_date,
        sex=said.sex or known.sex,
        former=tuple(number for number in known.former if not among(number, identifiers)),
        as_of=said.as_of or known.as_of,
    )


def same_person(left: PatientIdentity, right: PatientIdentity) -> bool:
    """Birth date and sex are known and agree: without them a bare number proves nothing (DESIGN §4a)."""
    said = left.birth_date and left.sex
    return bool(said) and (left.birth_date, left.sex) == (right.birth_date, right.sex)


def survivor_of(ledger: Ledger, patient: PatientIdentity) -> PatientIdentity:
    """The patient under the numbers that survived all merges so far; the same value where there was none."""
    for alias in ledger.aliases_of(patient.identifiers):
        patient = renumbered(patient, alias.former, alias.survivor)
    return patient


def with_survivors(ledger: Ledger, order: Order) -> Order:
    """The order, by whichever door it came, of the patient who survived the one that it names."""
    patient = survivor_of(ledger, order.patient)
    if patient is order.patient:
        return order
    return replace(order, patient=patient, trace=(*order.trace, ("patient.identifiers", "redirected after a merge")))
