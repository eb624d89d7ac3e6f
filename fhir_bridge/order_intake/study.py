"""The FHIR server has an ImagingStudy: the orders it is of learn where their images are, and those that wait for them wake up."""

from collections.abc import Sequence
from dataclasses import replace

from fhir_bridge.job import Event, Status
from fhir_bridge.order_intake.candidates import candidates
from fhir_bridge.order_intake.changing import apply_change
from fhir_bridge.ports import KnownOrder, Ledger
from fhir_bridge.rendezvous.completeness import NO_IMAGES, STILL_ARRIVING
from fhir_bridge.rendezvous.same_order import clashes, contradicts, same_patient
from fhir_bridge.rendezvous.survivor import with_survivors
from mappings.fhir_imaging_study import StudyFacts, is_of_another_study, with_study
from mappings.order import Order, OrderControl, PatientIdentity
from mappings.refusal import MappingRefused

AVAILABLE = "study.available"
ANOTHER = "study.another"
COMES_TOO_EARLY = frozenset({NO_IMAGES, STILL_ARRIVING, "study.key-missing"})  # held since no images came in time


def orders_of_study(ledger: Ledger, patients: Sequence[PatientIdentity], facts: StudyFacts) -> tuple[KnownOrder, ...]:
    """Those that we hold under its accession number or UID, by whichever door they came. `patients`: the study's, and who took his place.

    Raises MappingRefused `order.subject-mismatch` where only another patient's order has that number.
    """
    probe = Order(
        OrderControl.COMPLETED, patients[0], accession=facts.accession, study_instance_uid=facts.study_instance_uid
    )
    probes = [with_survivors(ledger, replace(probe, patient=each)) for each in patients]
    known = {k.job.id: k for probe in probes for k in candidates(ledger, probe)}.values()
    ours = [k for k in known if any(same_patient(k.order.patient, probe.patient) for probe in probes)]
    if not ours and any(clashes(k.order, probe) for k in known):
        raise MappingRefused(
            "order.subject-mismatch", "ImagingStudy.subject", "the number is another patient's order's"
        )
    return tuple(k for k in ours if not contradicts(k.order, probe))


def tell_of_study(ledger: Ledger, known: KnownOrder, facts: StudyFacts) -> None:
    """Images should be there: look at once, and with all the patience that a new wait has."""
    job = known.job
    if is_of_another_study(known.order, facts):
        ledger.note(job.id, "another-study", ANOTHER)
        return
    wanted = with_study(known.order, facts)
    if wanted != known.order:
        ledger.update_order(job.id, wanted)
    planned = known.order.study_instance_uid
    if planned and planned != wanted.study_instance_uid:
        apply_change(ledger, known, wanted)
    elif job.status is Status.HELD and job.reason in COMES_TOO_EARLY:
        ledger.happen(job.id, Event.REPLAY, AVAILABLE)
    else:
        ledger.happen(job.id, Event.WAKE, AVAILABLE)
