"""The running server: the door in a process of its own, everything else in this one; started and drained in order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fhir_bridge import log
from fhir_bridge.adapters.door_lines import Address, Line
from fhir_bridge.adapters.door_process import DoorProcess
from fhir_bridge.journal import Effect
from fhir_bridge.settings import Settings

if TYPE_CHECKING:
    from fhir_bridge.adapters.group_commit import GroupCommit
    from fhir_bridge.compose import Parts
    from fhir_bridge.roles.web import Web
    from fhir_bridge.roles.work import Work

_NICE = 10  # what works on messages leaves the processor to what answers them
_OF_THE_DOOR = {"data_dir", "store", "mllp", "listeners", "sender", "senders", "authority"}


class Server:
    """Senders wait for their answers: the door opens first, and what the other roles need is imported behind it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._door = DoorProcess(of_the_door(settings), self._wake, self._effects_of)
        self._parts: Parts | None = None
        self._writer: GroupCommit | None = None
        self._web: Web | None = None
        self._work: Work | None = None

    def start(self) -> tuple[dict[str, Address], Address]:
        """The addresses of the MLLP listeners and of HTTP, once all are open. What a killed predecessor left running is taken over.

        Raises what a role raises that cannot start; then nothing is open any more.
        """
        self._door.start()
        os.nice(_NICE)  # on Linux this thread and those it starts from here on: the door's owner is not among them
        try:
            http = self._start_behind()
            return self._door.wait_until_ready(), http
        except BaseException:
            self.drain(1)
            raise

    def _start_behind(self) -> Address:
        from fhir_bridge.adapters.group_commit import GroupCommit
        from fhir_bridge.compose import Parts
        from fhir_bridge.roles.web import Web
        from fhir_bridge.roles.work import Work

        parts = self._parts = Parts(self._settings)
        log.event("server.take-over", count=parts.queue.take_over())
        writer = GroupCommit(parts.store, self._wake)
        work, web = Work(parts, self._door.tell), Web(parts, writer, self._door)
        writer.start()
        self._writer = writer
        http = web.start()
        self._web = web
        work.start()
        self._work = work
        self._door.look_up()  # what was asked before there was a store to look into
        return http

    def drain(self, seconds: float) -> None:
        """No new connections; what was stored is answered; the running step ends or is taken over at the next start."""
        self._door.drain(seconds)
        for role in (self._web, self._work):
            if role is not None:
                role.drain(seconds)
        if self._writer is not None:
            self._writer.stop()
        if self._parts is not None:
            self._parts.close()

    def _wake(self) -> None:
        if self._work is not None:
            self._work.wake()

    def _effects_of(self, messages: Sequence[int]) -> dict[int, Effect]:
        """What became of messages that were applied before. The order numbers of an answer stand in the message itself."""
        from fhir_bridge.content import order_answers

        parts = self._parts
        if parts is None or self._work is None:
            return {}
        effects = parts.store.effects(messages)
        for number, effect in effects.items():
            message = parts.journal.message(number) if effect.outcome.orders else None
            if message is not None:
                rules = parts.policy.senders.called(message.entry.sender)
                controls = tuple(answer.control for answer in effect.outcome.orders)
                orders = order_answers(message.entry.raw, rules, controls)
                effects[number] = replace(effect, outcome=replace(effect.outcome, orders=orders))
        return effects


def of_the_door(settings: Settings) -> Line:
    """What the door needs to know, and no secret; unset ones are left out: a sender's rule says only what differs from the defaults."""
    return settings.model_dump(mode="json", include=_OF_THE_DOOR, exclude_unset=True)
