"""Any order, loss and repetition of notifications gives the same final jobs: those of a server that tells everything at once and in order."""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from tests.support.fhir_histories import Step, live, told_badly, told_well
from tests.support.frozen_clock import FrozenClock

STATUSES = ("active", "active", "on-hold", "revoked", "entered-in-error")
TASKS = ("requested", "accepted", "on-hold", "rejected", "cancelled", "completed", "draft")
NUMBERS = st.integers(1, 3)
BOTH = 9  # an order that comes by HL7 v2, too

REQUESTS = st.one_of(
    st.tuples(st.just("put"), NUMBERS, st.just("")),
    st.tuples(st.just("status"), NUMBERS, st.sampled_from(STATUSES)),
    st.tuples(st.just("change"), NUMBERS, st.sampled_from(("code", "stat", "reason"))),
    st.tuples(st.just("delete"), NUMBERS, st.just("")),
)
OTHERS = st.one_of(
    st.builds(lambda n, t, s: ("task", n, f"{t} {s}"), NUMBERS, st.sampled_from("ab"), st.sampled_from(TASKS)),
    st.tuples(st.just("untask"), NUMBERS, st.sampled_from("ab")),
    st.tuples(st.just("study"), NUMBERS, st.sampled_from(("registered", "available"))),
)
BY_BOTH = st.one_of(
    st.tuples(st.just("put"), st.just(BOTH), st.just("")),
    st.tuples(st.just("status"), st.just(BOTH), st.sampled_from(STATUSES)),
    st.tuples(st.just("numbered"), st.just(BOTH), st.just("available")),
    st.tuples(st.just("hl7"), st.just(BOTH), st.sampled_from(("new", "cancel", "hold", "release"))),
)


def histories(*kinds: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.one_of(*kinds), min_size=1, max_size=25)


def in_memory(clock: FrozenClock) -> InMemoryStore:
    return InMemoryStore(clock)


MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(steps=histories(REQUESTS), seed=st.integers(0, 2**32))
def test_service_requests(steps: list[Step], seed: int) -> None:
    assert live(told_badly(in_memory, steps, random.Random(seed)).store) == live(told_well(in_memory, steps).store)


@MANY
@given(steps=histories(REQUESTS, OTHERS), seed=st.integers(0, 2**32))
def test_service_requests_tasks_and_studies(steps: list[Step], seed: int) -> None:
    assert live(told_badly(in_memory, steps, random.Random(seed)).store) == live(told_well(in_memory, steps).store)


@MANY
@given(steps=histories(REQUESTS, BY_BOTH), seed=st.integers(0, 2**32))
def test_orders_that_come_by_both_doors(steps: list[Step], seed: int) -> None:
    first: list[Step] = [("hl7", BOTH, "new")]
    badly, well = told_badly(in_memory, first + steps, random.Random(seed)), told_well(in_memory, first + steps)
    assert live(badly.store) == live(well.store)


def in_sqlite(folder: Path, opened: list[SqlDatabase]) -> Callable[[FrozenClock], SqlStore]:
    def make(clock: FrozenClock) -> SqlStore:
        place = folder / str(len(opened))
        place.mkdir()
        database = SqlDatabase.in_folder(place)
        database.migrate()
        opened.append(database)
        return SqlStore(database, clock)

    return make


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=histories(REQUESTS, OTHERS, BY_BOTH), seed=st.integers(0, 2**32))
def test_on_disk_too(steps: list[Step], seed: int) -> None:
    first: list[Step] = [("hl7", BOTH, "new")]
    opened: list[SqlDatabase] = []
    with tempfile.TemporaryDirectory() as folder:
        make = in_sqlite(Path(folder), opened)
        badly, well = told_badly(make, first + steps, random.Random(seed)), told_well(make, first + steps)
        jobs = live(badly.store), live(well.store)
        for database in opened:
            database.close()
    assert jobs[0] == jobs[1]
