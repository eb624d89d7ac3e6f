"""The senders of the kill run: each sends an order until it has AA, the same bytes every time, as a RIS does."""

import itertools
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import requests

from hl7_listener.client import MllpClient, NoAcknowledgement
from tests.support.kill_hospital import KillHospital, KillOrder

_ANSWER_SECONDS = 10.0
_AGAIN_SECONDS = 0.05  # between two attempts to reach a server that is down
_GIVE_UP_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """When an AA came, and when the connection that it came by was asked for (monotonic seconds)."""

    connected: float
    at: float


@dataclass
class Stream:
    """What was sent and answered. `backlog` orders at most are acknowledged and not yet reported: then old ones are repeated."""

    hospital: KillHospital
    address: tuple[str, int]
    seed: int
    backlog: int = 30
    senders: int = 3
    pause_seconds: float = 0.5
    orders: dict[str, KillOrder] = field(default_factory=dict, repr=False)  # acknowledged, by placer number
    control_ids: dict[str, str] = field(default_factory=dict, repr=False)  # acknowledged MSH-10 -> placer number
    acknowledgements: list[Acknowledged] = field(default_factory=list, repr=False)
    answers: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0  # attempts that ended without an answer
    repeated: int = 0  # messages sent again although they had their AA, or an order by a new message
    reported: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._control_ids = itertools.count(1)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._failures: list[Exception] = []
        self.is_abandoned = False
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(f"{self.seed}/{n}"),), name=f"sender-{n}")
            for n in range(self.senders)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing new; what was sent is sent until it has its AA. Raises NoAcknowledgement where a sender had to give up."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def abandon(self) -> None:
        """The run is over before its end: do not wait for any AA."""
        self.is_abandoned = True
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def send_one(self) -> KillOrder:
        """An order, acknowledged."""
        with _Line(self) as line:
            return self._new_order(line)

    def note_reported(self, placers: frozenset[str]) -> None:
        """Their films may go."""
        for placer in (placers & self.orders.keys()) - self.reported:
            self.hospital.archive(self.orders[placer])
            self.reported.add(placer)

    def _run(self, chance: random.Random) -> None:
        try:
            with _Line(self) as line:
                while not self._stopping.is_set():
                    self._next(line, chance)
                    self._stopping.wait(chance.uniform(0, 2 * self.pause_seconds))
        except (NoAcknowledgement, requests.RequestException) as failure:
            self._failures.append(failure)

    def _next(self, line: "_Line", chance: random.Random) -> None:
        if len(self.orders) - len(self.reported) < self.backlog:
            self._new_order(line)
        if chance.random() < 0.3:
            self._repeat(line, chance)

    def _new_order(self, line: "_Line") -> KillOrder:
        with self._lock:
            order = KillOrder(next(self._numbers))
        self.hospital.admit(order)
        self._send(line, order, self._next_control_id())
        return order

    def _repeat(self, line: "_Line", chance: random.Random) -> None:
        """A message that had its AA, byte for byte, or the order in a message of its own."""
        with self._lock:
            control_id, placer = chance.choice(list(self.control_ids.items()))
            self.repeated += 1
        self._send(line, self.orders[placer], control_id if chance.random() < 0.5 else self._next_control_id())

    def _send(self, line: "_Line", order: KillOrder, control_id: str) -> None:
        acknowledged = line.send(order.message(control_id))
        with self._lock:
            self.acknowledgements.append(acknowledged)
            self.orders[order.placer] = order
            self.control_ids[control_id] = order.placer

    def _next_control_id(self) -> str:
        with self._lock:
            return f"KILL{next(self._control_ids):06d}"


class _Line:
    """One sender's connection, opened anew after each failure."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._client = self._connected()

    def send(self, message: bytes) -> Acknowledged:
        """Until AA. Raises NoAcknowledgement where none comes for very long: something is broken for good."""
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            try:
                code = self._client.send(message).code
            except NoAcknowledgement:
                if self._stream.is_abandoned or time.monotonic() > deadline:
                    raise
                self._stream.unanswered += 1
                self._client.close()
                time.sleep(_AGAIN_SECONDS)
                self._client = self._connected()
                continue
            self._stream.answers[code] += 1
            if code == "AA":
                return Acknowledged(self._connected_at, time.monotonic())
            time.sleep(_AGAIN_SECONDS)

    def _connected(self) -> MllpClient:
        self._connected_at = time.monotonic()
        return MllpClient(*self._stream.address, _ANSWER_SECONDS)

    def __enter__(self) -> "_Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
