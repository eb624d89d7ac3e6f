"""The roles `work` and `predict`: jobs, received messages, notifications, application acknowledgements, and the model process."""

from collections.abc import Callable, Sequence

from fhir_bridge.adapters.hl7_replies import Replies
from fhir_bridge.catch_up import CatchUp, Pace
from fhir_bridge.compose import Parts
from fhir_bridge.inbox import Inbox
from fhir_bridge.intake import Intake
from fhir_bridge.journal import Effect
from fhir_bridge.roles.subscriptions import feeds_of, watchdog_of
from fhir_bridge.worker import Retry, Worker


class Work:
    """The worker threads of this process. `on_effects`: what became of messages, for senders that wait for it."""

    def __init__(self, parts: Parts, on_effects: Callable[[Sequence[Effect]], None] = lambda _: None) -> None:
        settings = parts.settings.worker
        self._predictor = parts.predictor
        self._on_effects = on_effects
        self._catch_up = _catch_up(parts)
        inbox = Inbox(parts.store, parts.record, parts.policy, parts.clock)
        self._worker = Worker(
            parts.queue,
            parts.kit,
            Retry(settings.max_attempts, settings.backoff_seconds, settings.backoff_cap_seconds),
            threads=settings.threads,
            loops={
                "intake": Intake(parts.journal, parts.store, parts.policy, parts.clock, self._applied).apply_next,
                "inbox": lambda: self._heard(inbox.settle_due()),
                "replies": Replies(parts.store, parts.mllp_destinations, parts.clock).send_due,
                **({"catch-up": self._catch_up.turn, "watchdog": watchdog_of(parts).turn} if self._catch_up else {}),
            },
            lease_seconds=settings.lease_seconds,
        )

    def start(self) -> None:
        """The model process warms up while the first jobs get their context and images."""
        self._predictor.start()
        self._worker.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._worker.wake()

    def _applied(self, effects: Sequence[Effect]) -> None:
        self._on_effects(effects)
        self._worker.wake()

    def _heard(self, settled: int) -> int:
        """A job that a notification made does not wait for the next look of a worker."""
        if settled:
            self._worker.wake()
        return settled

    def drain(self, seconds: float) -> None:
        """Let running steps end."""
        if self._catch_up:
            self._catch_up.stop()
        self._worker.stop(seconds)


def _catch_up(parts: Parts) -> CatchUp | None:
    """None where there is no FHIR server to ask."""
    if parts.changes is None:
        return None
    fhir = parts.settings.fhir
    pace = Pace(
        fhir.catch_up_seconds, fhir.catch_up_overlap_seconds, fhir.first_catch_up_hours, feeds_of(parts.settings)
    )
    return CatchUp(parts.store, parts.changes, parts.clock, pace)
