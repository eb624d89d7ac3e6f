"""One writer thread, many small works, one commit for all that wait: an answer is given only after the commit that covers it."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fhir_bridge import log
from fhir_bridge.adapters.grouping_writer import GroupingWriter
from fhir_bridge.errors import Classified, Disposition, Refused, Unavailable, attempt
from fhir_bridge.ports import JobStore, Ledger

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Work:
    call: Callable[[Ledger], Any]
    future: "Future[Any]" = field(default_factory=Future)


class GroupCommit:
    """Works run in the order in which they were submitted. `on_commit` is called after each commit.

    A work that fails, fails alone: the group is rolled back and done again, each of its works in a savepoint, which costs more than most
    works themselves. A store that fails, fails all works of the group: then nothing of them is kept and nobody was told otherwise.
    """

    def __init__(self, store: JobStore, on_commit: Callable[[], None], *, max_group: int = 512) -> None:
        self._store = store
        self._on_commit = on_commit
        self._group = GroupingWriter[_Work]("intake-writer", self._commit, max_group)

    def start(self) -> None:
        """Begin to commit."""
        self._group.start()

    def stop(self) -> None:
        """Commit what was submitted, then end."""
        self._group.stop()

    def submit(self, call: Callable[[Ledger], T]) -> "Future[T]":
        """The work's value, once it is on disk. The future fails with Unavailable `store.unavailable` or Refused `internal.bug`."""
        work = _Work(call)
        self._group.put(work)
        return work.future

    def _commit(self, group: list[_Work]) -> None:
        done = attempt(lambda: self._in_one_transaction(group))
        if done.error is not None and done.error.disposition is Disposition.BUG:
            done = attempt(lambda: self._each_by_itself(group))
        if done.value is None:
            code = done.error.code if done.error else ""
            log.event("intake.group-not-committed", count=len(group), code=code)
            for work in group:
                work.future.set_exception(Unavailable("store.unavailable", "store", code))
            return
        for work, result in zip(group, done.value, strict=True):
            if isinstance(result, Classified):
                work.future.set_exception(Refused("internal.bug", result.error_id, "nothing of this was kept"))
            else:
                work.future.set_result(result)
        self._on_commit()

    def _in_one_transaction(self, group: list[_Work]) -> list[Any]:
        with self._store.transaction() as ledger:
            return [work.call(ledger) for work in group]

    def _each_by_itself(self, group: list[_Work]) -> list[Any]:
        with self._store.transaction() as ledger:
            return [self._one(ledger, work) for work in group]

    def _one(self, ledger: Ledger, work: _Work) -> Any:
        done = attempt(lambda: _inside_savepoint(ledger, work))
        if done.error is None:
            return done.value
        if done.error.disposition is not Disposition.BUG:
            raise Unavailable(done.error.code, "store", done.error.explanation)
        log.event("intake.bug", error_id=done.error.error_id, error_type=done.error.where, frames=done.error.frames)
        return done.error


def _inside_savepoint(ledger: Ledger, work: _Work) -> Any:
    with ledger.savepoint():
        return work.call(ledger)
