"""A system that takes HL7 v2 from us by MLLP: results and application acknowledgements go to it over one connection.

One message in flight, whichever thread sends: engines lose what comes pipelined (Camel keeps the first of several frames in one read).
One that does not answer rests for a while: whoever comes then is told so at once, instead of waiting for the timeout, too.
"""

import threading
import time
from collections.abc import Callable

from fhir_bridge.errors import Refused, Unavailable, Uncertain
from fhir_bridge.sections import Destination
from hl7_listener.acknowledgement import Acknowledgement
from hl7_listener.client import MllpClient, NoAcknowledgement
from hl7_listener.tls import CertificateRefused, RenewedContext, client_context

_REST_SECONDS = 2.0  # doubles with each failure in a row
_REST_CAP_SECONDS = 60.0


class MllpDestination:
    """Raises Unavailable `mllp.unreachable`, `mllp.resting`, Uncertain `mllp.closed`, `mllp.timeout`; where: the destination's name."""

    def __init__(self, name: str, client: MllpClient, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._client = client
        self._monotonic = monotonic
        self._in_flight = threading.Lock()
        self._state = threading.Lock()
        self._failures = 0  # in a row
        self._trying = False  # after a failure one message at a time finds out whether it answers again
        self._resting_until = 0.0

    def send(self, message: bytes) -> Acknowledgement:
        """The answer whose MSA-2 is the message's MSH-10, positive or not. A late or foreign one never counts."""
        failures = self._enter()
        try:
            with self._in_flight:
                if self._failures > failures:  # it fell silent while this one waited its turn
                    raise self._rest()
                return self._send(message)
        finally:
            if failures:
                self._trying = False

    def ping(self) -> None:
        """Whether something takes our connection there, and shows a certificate that we trust."""
        with self._in_flight:
            try:
                self._client.ping()
            except NoAcknowledgement as failure:
                raise Unavailable(failure.code, self.name, failure.explanation) from None

    def close(self) -> None:
        """End the connection, unless a message is in flight: that one ends with the process."""
        if self._in_flight.acquire(blocking=False):
            self._client.close()
            self._in_flight.release()

    def _enter(self) -> int:
        with self._state:
            if self._failures:
                if self._trying or self._monotonic() < self._resting_until:
                    raise self._rest()
                self._trying = True
            return self._failures

    def _send(self, message: bytes) -> Acknowledgement:
        try:
            answer = self._client.send(message)
        except NoAcknowledgement as failure:
            with self._state:
                self._failures += 1
                rest = min(_REST_CAP_SECONDS, _REST_SECONDS * 2 ** min(self._failures - 1, 10))
                self._resting_until = self._monotonic() + rest
            if failure.may_have_arrived:
                raise Uncertain(failure.code, self.name, failure.explanation) from None
            raise Unavailable(failure.code, self.name, failure.explanation) from None
        self._failures = 0
        return answer

    def _rest(self) -> Unavailable:
        left = max(0.0, self._resting_until - self._monotonic())
        return Unavailable("mllp.resting", self.name, "it did not answer lately; one message at a time is tried", left)


def destination_of(name: str, section: Destination) -> MllpDestination:
    """The destination `[destinations.NAME]`. Raises Refused `mllp.certificate-unusable`."""
    tls = section.tls
    try:
        files = (tls.ca_file, tls.certificate, tls.key)
        context = RenewedContext(client_context, *files).current if section.use_tls else None
    except CertificateRefused as refused:
        raise Refused(refused.code, refused.where, refused.explanation) from None
    return MllpDestination(name, MllpClient(section.host, section.port, section.timeout_seconds, context))
