"""A clock that only waiting moves."""

from fhir_bridge.adapters.fhir_transport import Timing

WALL = 1_800_000_000.0


class WaitingTime:
    """Monotonic time from 0; the random number is 0.5; the wall clock stands at `WALL`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def timing(self) -> Timing:
        return Timing(lambda: self.now, self.sleep, lambda: 0.5, lambda: WALL)
