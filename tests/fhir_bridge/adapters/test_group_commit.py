import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from fhir_bridge.adapters.group_commit import GroupCommit
from fhir_bridge.adapters.in_memory.store import InMemoryLedger, InMemoryStore
from fhir_bridge.errors import BridgeError, Unavailable
from fhir_bridge.ports import Ledger
from tests.support.builders import an_order
from tests.support.frozen_clock import FrozenClock


class WatchedStore(InMemoryStore):
    """Counts commits; can be held before a commit, and can fail it."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.commits = 0
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.is_full = False

    @contextmanager
    def transaction(self) -> Iterator[InMemoryLedger]:
        with super().transaction() as ledger:
            yield ledger
            assert self.may_commit.wait(10)
            if self.is_full:
                raise Unavailable("store.unavailable", "store", "OperationalError")
            self.commits += 1


@pytest.fixture
def store(clock: FrozenClock) -> WatchedStore:
    return WatchedStore(clock)


@pytest.fixture
def committed() -> list[int]:
    return []


@pytest.fixture
def writer(store: WatchedStore, committed: list[int]) -> Iterator[GroupCommit]:
    writer = GroupCommit(store, lambda: committed.append(store.commits))
    writer.start()
    yield writer
    store.may_commit.set()
    writer.stop()


def take(number: int):  # type: ignore[no-untyped-def]
    return lambda ledger: ledger.add_order(an_order(str(number), mrn=f"CANARY-{number}"), "hl7v2")


def test_no_answer_is_given_before_its_commit(store: WatchedStore, writer: GroupCommit) -> None:
    store.may_commit.clear()
    future = writer.submit(take(1))
    early = future.done()
    store.may_commit.set()
    future.result(10)
    assert (early, store.commits) == (False, 1)


def test_works_that_wait_share_a_commit(store: WatchedStore, writer: GroupCommit) -> None:
    store.may_commit.clear()
    futures = [writer.submit(take(number)) for number in range(50)]
    store.may_commit.set()
    jobs = [future.result(10) for future in futures]
    assert len(set(jobs)) == 50
    assert store.commits <= 3  # the first, alone; the rest together, perhaps in two


def test_works_run_in_the_order_in_which_they_came(store: WatchedStore, writer: GroupCommit) -> None:
    jobs = [writer.submit(take(number)) for number in range(20)]
    assert [future.result(10) for future in jobs] == [job.id for job in reversed(store.jobs())]


def _boom(ledger: Ledger) -> str:
    ledger.add_order(an_order("9", mrn="CANARY-9"), "hl7v2")
    raise ZeroDivisionError("CANARY")


def test_a_work_with_a_bug_fails_alone_and_leaves_nothing(store: WatchedStore, writer: GroupCommit) -> None:
    store.may_commit.clear()
    futures: list[Future[str]] = [writer.submit(work) for work in (take(1), _boom, take(2))]
    store.may_commit.set()
    failure = futures[1].exception(10)
    assert isinstance(failure, BridgeError)
    assert (failure.code, "CANARY" in str(failure), len(store.jobs())) == ("internal.bug", False, 2)


def test_a_store_that_cannot_commit_fails_every_work_and_keeps_none(store: WatchedStore, writer: GroupCommit) -> None:
    store.is_full = True
    failures = [future.exception(10) for future in [writer.submit(take(number)) for number in range(3)]]
    assert [getattr(failure, "code", "") for failure in failures] == ["store.unavailable"] * 3
    assert store.jobs() == ()


def test_the_writer_goes_on_after_the_store_is_back(store: WatchedStore, writer: GroupCommit) -> None:
    store.is_full = True
    writer.submit(take(1)).exception(10)
    store.is_full = False
    assert writer.submit(take(2)).result(10)


def test_the_worker_is_told_after_the_commit(writer: GroupCommit, committed: list[int]) -> None:
    writer.submit(take(1)).result(10)
    writer.submit(take(2)).result(10)  # by now the first notice has been given
    assert committed[0] == 1


def test_stop_commits_what_was_submitted(store: WatchedStore) -> None:
    writer = GroupCommit(store, lambda: None)
    futures = [writer.submit(take(number)) for number in range(5)]
    writer.start()
    writer.stop()
    assert all(future.done() for future in futures)
