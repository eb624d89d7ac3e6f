"""The RIS's own port, where the results of its orders come in as ORU^R01. Read by hl7apy: the verdict must not rest on the code it judges."""

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Self

from hl7apy.parser import parse_message

from fhir_bridge.practice.record import PNEUMONIA
from hl7_listener.outcome import Outcome
from hl7_listener.server import ListenerPolicy, MllpServer, Received


@dataclass(frozen=True, slots=True)
class ResultSeen:
    """An ORU^R01 as the RIS got it."""

    control_id: str
    patient: str = field(repr=False)  # PID-3.1
    orders: frozenset[str] = field(repr=False)  # OBR-2.1, OBR-3.1, OBR-18
    status: str  # OBR-25
    findings: tuple[str, ...]  # OBX-5.1 of each OBX that asks for pneumonia


class RisInbox:
    """Listens on a free port of loopback and answers AA to whatever comes."""

    def __init__(self) -> None:
        self._received: list[bytes] = []
        self._lock = threading.Lock()
        self._server = MllpServer(ListenerPolicy("ris", port=0, application="RIS", facility="HOSP"), self._take)

    def results(self) -> tuple[ResultSeen, ...]:
        """Every message, repeats too, in the order in which they came."""
        with self._lock:
            received = tuple(self._received)
        return tuple(map(_seen, received))

    def _take(self, message: Received) -> Future[Outcome]:
        with self._lock:
            self._received.append(bytes(message.payload))
        answer: Future[Outcome] = Future()
        answer.set_result(Outcome("AA"))
        return answer

    def __enter__(self) -> Self:
        self.host, self.port = self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()


@cache  # hl7apy is slow, and the verdict asks again every second
def _seen(received: bytes) -> ResultSeen:
    message = parse_message(received.decode("utf-8"), find_groups=False)
    (request,) = message.obr
    numbers = (request.obr_2.obr_2_1.value, request.obr_3.obr_3_1.value, request.obr_18.value)
    answers = (obx for obx in message.obx if obx.obx_3.obx_3_1.value == PNEUMONIA)
    return ResultSeen(
        control_id=message.msh.msh_10.value,
        patient=message.pid.pid_3.pid_3_1.value,
        orders=frozenset(number for number in numbers if number),
        status=request.obr_25.value,
        findings=tuple(obx.obx_5.obx_5_1.value for obx in answers),
    )
