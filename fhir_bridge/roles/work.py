"""The roles `work` and `predict`: jobs, notifications, and the model process."""

from fhir_bridge.compose import Parts
from fhir_bridge.inbox import Inbox
from fhir_bridge.intake import Intake
from fhir_bridge.worker import Retry, Worker


class Work:
    """The worker threads of this process."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings.worker
        self._predictor = parts.predictor
        self._worker = Worker(
            parts.queue,
            parts.kit,
            Retry(settings.max_attempts, settings.backoff_seconds, settings.backoff_cap_seconds),
            threads=settings.threads,
            loops={
                "intake": Intake(parts.journal, parts.store, parts.policy, parts.clock, lambda _: None).apply_next,
                "inbox": Inbox(parts.store, parts.record, parts.policy, parts.clock).settle_due,
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

    def drain(self, seconds: float) -> None:
        """Let running steps end."""
        self._worker.stop(seconds)
