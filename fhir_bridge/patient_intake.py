"""What an ADT message changes about the patients of the orders we hold (HL7 v2.5.1 §3.3, §3.6.2; facts item 32).

We keep no index of patients: what counts is which orders a change reaches, and what later orders are told. Written against
`ports.Ledger`: all of it happens inside one transaction of the store. Where a message leaves open whose an order is, nobody guesses:
the order stays as it is, or is held, and the message gets a warning.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import KnownOrder, Ledger, PatientAlias
from fhir_bridge.rendezvous.same_order import same_patient
from fhir_bridge.rendezvous.survivor import (
    UNCERTAIN_MOVE,
    among,
    authority,
    bare,
    may_be,
    merged_numbers,
    renumbered,
    restated,
    same_number,
    same_person,
    survivor_of,
)
from mappings.hl7v2_patient import PatientChange, PatientEvent
from mappings.order import Identifier, Order, PatientIdentity

MERGED, UPDATED, MOVED = "patient.merged", "patient.updated", "patient.moved"  # why a job starts again
AMBIGUOUS = "patient.merge-ambiguous"  # a number without its authority could be another patient's
STALE_MERGE = "patient.merge-stale"  # the reverse was recorded later
INTO_ITSELF = "patient.merged-into-itself"
STALE_UPDATE = "patient.update-stale"  # the order's patient is described by something later
UNPROVEN = "patient.update-unproven"  # by a bare number, and the birth date does not agree

_ABOUT_THE_PATIENT = ("patient.", "identity.")  # reasons of a hold that a change of the patient may settle


@dataclass(frozen=True, slots=True)
class PatientTaken:
    """The jobs that a change touched, and what somebody should look at (slugs)."""

    jobs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Taking:
    """One change on its way into the store."""

    ledger: Ledger
    change: PatientChange
    jobs: dict[str, None] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)

    def warn(self, slug: str, known: KnownOrder | None = None) -> None:
        """For whoever looks at the message, and in the timeline of the job that it might have been about."""
        self.warnings[slug] = None
        if known:
            self.note(known, "patient-unsettled", slug)

    def note(self, known: KnownOrder, event: str, reason: str = "") -> None:
        self.jobs[known.job.id] = None
        self.ledger.note(known.job.id, event, reason)

    def restart(self, known: KnownOrder, wanted: Order, reason: str) -> None:
        """The job goes on with the patient as he is now, and forgets what it found out about the one before.

        A report that is made, or out, is made anew from the same analysis; `flow.report` looks at the images' headers again.
        """
        job = known.job
        self.jobs[job.id] = None
        self.ledger.update_order(job.id, wanted)
        reported = job.stage in (Stage.REPORT, Stage.DELIVER)
        rests = job.status in (Status.HELD, Status.ON_HOLD, Status.CANCELLED)
        stage = Stage.REPORT if reported else Stage.CONTEXT
        self.ledger.happen(job.id, Event.PATIENT, job.reason if rests else reason, stage)
        if job.status is Status.HELD and job.reason.startswith(_ABOUT_THE_PATIENT):
            self.ledger.happen(job.id, Event.REPLAY, reason, stage)
        elif rests:
            self.ledger.note(job.id, "patient-changed", reason)

    def orders_of(self, numbers: Sequence[Identifier]) -> Iterator[KnownOrder]:
        """Those whose patient surely has one of these numbers: with its authority."""
        return (known for known, surely in self.orders_like(numbers) if surely)

    def orders_like(self, numbers: Sequence[Identifier]) -> Iterator[tuple[KnownOrder, bool]]:
        """Those whose patient has, or may have, one of these numbers; and whether that is sure."""
        for known in self.ledger.orders_of_patient(numbers):
            own = known.order.patient.identifiers
            surely = any(authority(n) and among(n, own) for n in numbers)
            if surely or any(may_be(n, mine) for n in numbers for mine in own):
                yield known, surely


def apply_patient_change(ledger: Ledger, change: PatientChange) -> PatientTaken:
    """Pending jobs follow their patient; so do results that are out, and whatever comes later under a former number."""
    taking = _Taking(ledger, change)
    _EFFECTS.get(change.event, _no_effect)(taking, change)
    return PatientTaken(tuple(taking.jobs), tuple(taking.warnings))


def _no_effect(_: _Taking, __: PatientChange) -> None: ...


def _update(taking: _Taking, change: PatientChange) -> None:
    """A01, A04, A05, A28, A08, A31: pending jobs hear of it; what is reported or ended stays as it was."""
    said = survivor_of(taking.ledger, change.patient)
    for known in taking.ledger.orders_of_patient(said.identifiers):
        patient, job = known.order.patient, known.job
        final = job.status in (Status.DONE, Status.CANCELLED) or job.stage is Stage.DELIVER
        named = any(may_be(theirs, ours) for theirs in said.identifiers for ours in patient.identifiers)
        if final or not named or not same_patient(patient, said):
            continue
        proven = any(authority(n) and among(n, patient.identifiers) for n in said.identifiers)
        if not proven and (said.birth_date is None or said.birth_date != patient.birth_date):
            taking.warn(UNPROVEN, known)
        elif said.as_of and said.as_of.is_before(patient.as_of):
            taking.warn(STALE_UPDATE, known)
        elif (now := restated(patient, said, numbers=proven)) != patient:
            taking.restart(known, replace(known.order, patient=now), UPDATED)
        else:
            taking.ledger.update_order(job.id, replace(known.order, patient=now))  # as of now


def _merge(taking: _Taking, change: PatientChange) -> None:
    """A40 and its older forms, A47: number for number."""
    pairs = merged_numbers(change.prior or PatientIdentity(), change.patient)
    if not pairs:
        taking.warn(INTO_ITSELF)
    for former, survivor in pairs:
        known = taking.ledger.orders_of_patient([former])
        numbers = (former, survivor) if authority(former) else _known_numbers(former, survivor, change.patient, known)
        if numbers is None:
            for each in known:
                taking.warn(AMBIGUOUS, each)
        else:
            _merge_number(taking, *numbers, known)


def _known_numbers(
    former: Identifier, survivor: Identifier, now: PatientIdentity, known: Sequence[KnownOrder]
) -> tuple[Identifier, Identifier] | None:
    """A bare prior number is that of the one authority under which we know it, where the survivor has one of it, too.

    Where we know it from nobody, it stays a bare number, and so does the survivor's. None where it could be several patients'.
    """
    authorities = _authorities(former, known)
    if not authorities:
        return former, bare(survivor)
    found = [number for number in now.identifiers if {authority(number)} == authorities]
    return (replace(found[0], value=former.value), found[0]) if found else None


def _authorities(number: Identifier, known: Sequence[KnownOrder]) -> set[str]:
    """From whom we know this value as a patient's number."""
    numbers = (n for each in known for n in (*each.order.patient.identifiers, *each.order.patient.former))
    return {authority(n) for n in numbers if n.value == number.value} - {""}


def _merge_number(taking: _Taking, former: Identifier, survivor: Identifier, known: Sequence[KnownOrder]) -> None:
    ledger = taking.ledger
    elsewhere = [alias.survivor for alias in ledger.aliases_of([former])]
    if not ledger.set_alias(PatientAlias(former, survivor, taking.change.at)):
        taking.warn(STALE_MERGE)
        return
    (alias,) = ledger.aliases_of([former])
    only_here = _authorities(former, ledger.orders_of_patient([bare(former)])) <= {authority(former)}
    for each in known:
        patient = each.order.patient
        alike = same_person(patient, taking.change.patient)
        unsaid = [n for n in patient.identifiers if may_be(n, former) and not same_number(n, former)]
        # an order whose number was merged elsewhere before bears that patient's number
        old = [n for n in (former, *elsewhere) if among(n, patient.identifiers)]
        if old and among(former, (*patient.identifiers, *patient.former)) and (authority(former) or alike):
            _renumber(taking, each, old[0], alias.survivor, keep=old[0] is former)
        elif unsaid and alike and only_here:
            _renumber(taking, each, unsaid[0], bare(alias.survivor))
        elif unsaid or among(former, patient.identifiers):
            taking.warn(AMBIGUOUS, each)


def _renumber(taking: _Taking, known: KnownOrder, old: Identifier, new: Identifier, *, keep: bool = True) -> None:
    patient, change = known.order.patient, taking.change
    if same_number(old, new):
        return
    now = renumbered(patient, old, new, keep=keep)
    stale = change.at and change.at.is_before(patient.as_of)
    if not stale:
        said = survivor_of(taking.ledger, change.patient)  # he may have been merged on already
        now = restated(now, said, numbers=bool(authority(new)))
    account = change.account if _is_number(known.order.account, change.prior_account) else known.order.account
    taking.restart(known, replace(known.order, patient=now, account=account), MERGED)


def _move_patient(taking: _Taking, change: PatientChange) -> None:
    """A43: the number stays, and is another person's: whatever was found by it is looked for again."""
    numbers = change.prior.identifiers if change.prior else change.patient.identifiers
    for known, surely in list(taking.orders_like(numbers)):
        if not surely:
            _hold_uncertain(taking, known)
            continue
        now = replace(restated(known.order.patient, change.patient, numbers=True), reference="")
        taking.restart(known, replace(known.order, patient=now), MOVED)


def _move_account(taking: _Taking, change: PatientChange) -> None:
    """A44: the orders of this account are another patient's."""
    _move(taking, change, lambda order: order.account, change.prior_account, change.account)


def _move_visit(taking: _Taking, change: PatientChange) -> None:
    """A45: the orders of this visit are another patient's; without MRG-1 the visit only changed its account."""
    _move(taking, change, lambda order: order.visit, change.prior_visit, change.visit)


def _move(
    taking: _Taking,
    change: PatientChange,
    number_of: Callable[[Order], Identifier | None],
    was: Identifier | None,
    now: Identifier | None,
) -> None:
    """Nothing of the wrong patient is kept: his numbers and birth date were never those of the order's."""
    patient = replace(survivor_of(taking.ledger, change.patient), reference="")
    prior = change.prior.identifiers if change.prior else ()
    wrong = [n for n in prior if not any(may_be(n, own) for own in patient.identifiers)]
    for known, surely in list(taking.orders_like(wrong)):
        own = number_of(known.order)
        moved = _is_number(own, was) or _is_number(own, now)
        if own is None or (was is None and now is None) or (moved and not surely):
            _hold_uncertain(taking, known)
        elif moved:
            order = replace(
                known.order, patient=patient, account=change.account, visit=change.visit or known.order.visit
            )
            taking.restart(known, order, MOVED)


def _hold_uncertain(taking: _Taking, known: KnownOrder) -> None:
    if known.job.status is Status.CANCELLED:
        return
    taking.warn(UNCERTAIN_MOVE, known)
    taking.ledger.happen(known.job.id, Event.HOLD, UNCERTAIN_MOVE)


def _rename(taking: _Taking, change: PatientChange) -> None:
    """A35, A41, A49 and A42, A50: an account or a visit has another number; the patient is the same, and jobs go on."""
    for known in list(taking.orders_of(change.patient.identifiers)):
        account, visit = known.order.account, known.order.visit
        if _is_number(account, change.prior_account):
            account = change.account
        if _is_number(visit, change.prior_visit):
            visit = change.visit
        if (account, visit) != (known.order.account, known.order.visit):
            taking.ledger.update_order(known.job.id, replace(known.order, account=account, visit=visit))
            taking.note(known, change.event)


def _note_visit(taking: _Taking, change: PatientChange) -> None:
    """A11, A13: whether the examination still takes place the order says, not the visit."""
    for known in list(taking.orders_of(change.patient.identifiers)):
        if _is_number(known.order.visit, change.visit):
            taking.note(known, change.event)


def _note_link(taking: _Taking, change: PatientChange) -> None:
    """A24, A37: two patients may be one, or are not after all. That is for people: no order moves by it."""
    others = change.prior.identifiers if change.prior else ()
    for known in list(taking.orders_of((*change.patient.identifiers, *others))):
        taking.note(known, change.event)


def _is_number(own: Identifier | None, said: Identifier | None) -> bool:
    return own is not None and said is not None and may_be(own, said)


_EFFECTS: Mapping[PatientEvent, Callable[[_Taking, PatientChange], None]] = {
    PatientEvent.REGISTER: _update,
    PatientEvent.UPDATE: _update,
    PatientEvent.MERGE: _merge,
    PatientEvent.CHANGE_IDENTIFIER: _merge,
    PatientEvent.MOVE_PATIENT: _move_patient,
    PatientEvent.MOVE_ACCOUNT: _move_account,
    PatientEvent.MOVE_VISIT: _move_visit,
    PatientEvent.MERGE_ACCOUNT: _rename,
    PatientEvent.MERGE_VISIT: _rename,
    PatientEvent.LINK: _note_link,
    PatientEvent.UNLINK: _note_link,
    PatientEvent.CANCEL_VISIT: _note_visit,
    PatientEvent.REOPEN_VISIT: _note_visit,
}
