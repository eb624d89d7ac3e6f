"""What every store keeps of merged patients: the same tests on SQL and on the in-memory twin."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fhir_bridge.adapters.in_memory.queue import InMemoryQueue
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.adapters.sqlite_queue import SqliteQueue
from fhir_bridge.job import Event, Stage
from fhir_bridge.ports import JobQueue, JobStore, Move, PatientAlias, StepArtifact
from mappings.order import EventTime, Identifier, OrderKey, PatientIdentity
from tests.support.builders import an_order
from tests.support.frozen_clock import FrozenClock

House = tuple[JobStore, JobQueue]


@pytest.fixture(params=["sqlite", "in-memory"])
def house(request: pytest.FixtureRequest, tmp_path: Path, clock: FrozenClock) -> Iterator[House]:
    if request.param == "in-memory":
        store = InMemoryStore(clock)
        yield store, InMemoryQueue(store, clock)
        return
    database = SqlDatabase.in_folder(tmp_path)
    database.migrate()
    yield SqlStore(database, clock), SqliteQueue(database, clock)
    database.close()


@pytest.fixture
def store(house: House) -> JobStore:
    return house[0]


def number(value: str, system: str = "urn:h", namespace: str = "") -> Identifier:
    return Identifier(f"CANARY-{value}", system, namespace=namespace)


def at(hour: int, clock: str = "EMR|HOSP") -> EventTime:
    return EventTime(datetime(2026, 3, 2, hour, tzinfo=UTC), clock)


def merged(store: JobStore, *pairs: str, times: tuple[EventTime | None, ...] = ()) -> list[bool]:
    """`AB`: A into B."""
    with store.transaction() as ledger:
        aliases = [PatientAlias(number(former), number(survivor)) for former, survivor in pairs]
        timed = [
            PatientAlias(a.former, a.survivor, t) for a, t in zip(aliases, times or [None] * len(pairs), strict=True)
        ]
        return [ledger.set_alias(alias) for alias in timed]


def survivors(store: JobStore, *values: str) -> dict[str, str]:
    with store.transaction() as ledger:
        found = ledger.aliases_of([number(value) for value in values])
    return {alias.former.value[-1]: alias.survivor.value[-1] for alias in found}


def test_a_number_that_was_never_merged_has_no_survivor(store: JobStore) -> None:
    assert survivors(store, "A") == {}
    with store.transaction() as ledger:
        assert ledger.aliases_of([]) == ()


@pytest.mark.parametrize(
    ("merges", "expected"),
    [
        (("AB",), {"A": "B"}),
        (("AB", "AB"), {"A": "B"}),  # repeated
        (("AB", "BC"), {"A": "C", "B": "C"}),  # chained
        (("BC", "AB"), {"A": "C", "B": "C"}),  # chained, the other way round in time
        (("AB", "BA"), {"B": "A"}),  # reversed
        (("AB", "BA", "AB"), {"A": "B"}),
        (("AB", "BC", "CA"), {"B": "A", "C": "A"}),  # in a ring: the last word says who survives
        (("AC", "BC"), {"A": "C", "B": "C"}),
        (("AB", "AC"), {"A": "C"}),  # A was merged into B by mistake: B is nobody's former
        (("ZA", "AB", "AC"), {"Z": "C", "A": "C"}),  # and takes along what was merged into it
    ],
)
def test_merges_are_followed_to_their_end(store: JobStore, merges: tuple[str, ...], expected: dict[str, str]) -> None:
    merged(store, *merges)
    assert survivors(store, "A", "B", "C", "Z") == expected


def test_an_older_reversal_changes_nothing(store: JobStore) -> None:
    taken = merged(store, "BA", "AB", times=(at(10), at(9)))
    assert (taken, survivors(store, "A", "B")) == ([True, False], {"B": "A"})


def test_times_of_two_clocks_are_not_compared(store: JobStore) -> None:
    taken = merged(store, "BA", "AB", times=(at(10), at(9, "RIS|HOSP")))
    assert (taken, survivors(store, "A", "B")) == ([True, True], {"A": "B"})


def test_the_same_number_of_another_authority_is_not_merged(store: JobStore) -> None:
    with store.transaction() as ledger:
        ledger.set_alias(PatientAlias(number("A", "", "HOSP"), number("B", "", "HOSP")))
        others = [number("A"), number("A", "", "CLINIC"), number("A", "")]
        assert ledger.aliases_of(others) == ()
        assert len(ledger.aliases_of([number("A", "", "HOSP")])) == 1


def test_a_merge_is_kept_with_its_time(store: JobStore) -> None:
    merged(store, "AB", times=(at(9),))
    with store.transaction() as ledger:
        assert ledger.aliases_of([number("A")]) == (PatientAlias(number("A"), number("B"), at(9)),)


def test_orders_are_found_by_every_number_that_their_patient_has_or_had(store: JobStore) -> None:
    patient = PatientIdentity((number("B"), number("X", "urn:x")), former=(number("A"),))
    with store.transaction() as ledger:
        job = ledger.add_order(an_order(patient=patient), "hl7v2")
        ledger.add_order(an_order("2", patient=PatientIdentity((number("C"),))), "hl7v2")
        found = [ledger.orders_of_patient([n]) for n in (number("A"), number("B"), number("X", "urn:x"), number("X"))]
    assert [[known.job.id for known in orders] for orders in found] == [[job], [job], [job], []]


@pytest.mark.parametrize(
    ("kept", "asked", "found"),
    [
        (("A", "urn:h", ""), ("A", "", ""), True),  # whose it is, is not said
        (("A", "", ""), ("A", "urn:h", ""), True),
        (("A", "", "HOSP"), ("A", "", "HOSP"), True),
        (("A", "", "HOSP"), ("A", "", "CLINIC"), False),
    ],
)
def test_an_authority_that_is_not_said_may_be_any(
    store: JobStore, kept: tuple[str, str, str], asked: tuple[str, str, str], found: bool
) -> None:
    with store.transaction() as ledger:
        ledger.add_order(an_order(patient=PatientIdentity((number(*kept),))), "hl7v2")
        assert bool(ledger.orders_of_patient([number(*asked)])) is found


def test_an_order_of_another_patient_now_is_not_found_by_the_number_of_before(store: JobStore) -> None:
    with store.transaction() as ledger:
        job = ledger.add_order(an_order(patient=PatientIdentity((number("A"),))), "hl7v2")
        ledger.update_order(job, an_order(patient=PatientIdentity((number("B"),))))
        assert ledger.orders_of_patient([number("A")]) == ()


def test_a_change_of_the_patient_forgets_what_was_found_and_fences_the_worker(house: House) -> None:
    store, queue = house
    with store.transaction() as ledger:
        job = ledger.add_order(an_order(), "hl7v2")
    claim = queue.claim("w")
    assert claim is not None
    queue.record(claim, Move(Event.ADVANCE, Stage.STUDY, artifact=StepArtifact("inputs", "content")))
    with store.transaction() as ledger:
        assert ledger.happen(job, Event.PATIENT, "patient.merged", Stage.CONTEXT)
    again = queue.claim("w")
    assert again is not None
    assert (store.latest_artifact(job, Stage.CONTEXT), again.job.stage) == (None, Stage.CONTEXT)
    assert again.fence > claim.fence + 1


def test_a_wish_to_cancel_outlives_a_change_of_the_patient(house: House) -> None:
    store, queue = house
    with store.transaction() as ledger:
        job = ledger.add_order(an_order(), "hl7v2")
    claim = queue.claim("w")
    assert claim is not None
    store.begin_delivery(claim, "fhir")
    with store.transaction() as ledger:
        ledger.happen(job, Event.CANCEL)
        ledger.happen(job, Event.PATIENT, "patient.merged", Stage.CONTEXT)
    claim = queue.claim("w")
    assert claim is not None
    begun = store.begin_delivery(claim, "fhir")
    store.end_delivery(claim, type(begun)(job, "fhir", "pending"))  # it did not get out after all
    queue.record(claim, Move(Event.WAIT, Stage.DELIVER, wake_at=datetime(2026, 3, 3, tzinfo=UTC)))
    known = store.job(job)
    assert known is not None
    assert known.status == "cancelled"


def test_a_message_may_name_more_numbers_than_one_statement_takes(store: JobStore) -> None:
    """Else one message would stop all that come after it."""
    order = an_order()
    with store.transaction() as ledger:
        job = ledger.add_order(order, "hl7v2")
        keys = [OrderKey("placer", "urn:other", f"CANARY-{n}") for n in range(2000)]
        numbers = [Identifier(f"CANARY-X{n}", "urn:other") for n in range(260_000)]
        by_keys = ledger.orders_by_keys([*keys, *order.keys()])
        by_patient = ledger.orders_of_patient([*numbers, *order.patient.identifiers])
        assert [[known.job.id for known in found] for found in (by_keys, by_patient)] == [[job], [job]]
