"""How we hear of one kind of resource on the FHIR server: what came by itself, what was asked for, what was missed. Pure values."""

from dataclasses import dataclass
from datetime import datetime

KINDS = {"orders": "ServiceRequest", "studies": "ImagingStudy", "tasks": "Task"}  # feed -> resource type


@dataclass(frozen=True, slots=True)
class Feed:
    """One kind of resource, named like the last part of its hook. Every time is ours but `watermark`, which is the server's."""

    name: str  # orders, studies, tasks
    wanted: bool = False  # `subscribe` made a Subscription: the watchdog keeps it as it should be
    # by hooks
    heard: datetime | None = None  # the last authorised call
    event_number: int = 0  # the last that a topic-based notification bore; 0: none yet
    gaps: int = 0  # events that the server counted and we never got
    resets: int = 0  # times that the server counted anew
    # by asking
    watermark: datetime | None = None  # all that changed before is in our store; with the server's milliseconds
    caught_up: datetime | None = None  # the last time that the asking came to its end
    trouble: str = ""  # the code of why the last one did not
    asked_for: datetime | None = (
        None  # somebody wants it done at once: a gap, a mended Subscription, an empty notification
    )
    missed: int = 0  # changes that the asking found and no notification told, though there was time enough
    last_missed: datetime | None = None
    # the Subscription, as the watchdog saw it last
    status: str = ""  # the server's word; `missing`; empty: never looked
    status_since: datetime | None = None
    reference: str = ""
    looked: datetime | None = None
    repairs: int = 0

    @property
    def kind(self) -> str:
        """The resource type."""
        return KINDS[self.name]
