"""What a job is, and the whole table of its moves. Pure.

Two axes: `Stage` is the step that comes next, `Status` says whether it may run now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mappings.order import Order, Priority


class Stage(StrEnum):
    """The steps of `flow.py`, in their order."""

    CONTEXT = "context"
    STUDY = "study"
    DEIDENTIFY = "deidentify"
    ANALYSE = "analyse"
    REPORT = "report"
    DELIVER = "deliver"


STAGES: tuple[Stage, ...] = tuple(Stage)


class Status(StrEnum):
    """May the next step run?"""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"  # for images, or for the time of the next attempt; holds no worker
    HELD = "held"  # a person must act
    ON_HOLD = "on-hold"  # the sender of the order put it on hold, and releases it
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"  # attempts exhausted: the dead letters


class Event(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"  # a worker takes it
    ADVANCE = "advance"  # the step is done, its artifact stored; the next one may run
    FINISH = "finish"  # the last step is done
    WAIT = "wait"  # the step needs images, or a peer, later
    HOLD = "hold"  # the step refused its input, or met our bug
    EXHAUST = "exhaust"  # the last attempt failed
    LOSE = "lose"  # the worker's lease is over
    WAKE = "wake"  # the time has come, or a waker said so
    CANCEL = "cancel"  # ORC-1 CA, DC; ServiceRequest revoked
    CHANGE = "change"  # ORC-1 XO: start again with the new order
    SUSPEND = "suspend"  # ORC-1 HD, OH; ServiceRequest on-hold
    RESUME = "resume"  # ORC-1 RL, OE; ServiceRequest active again
    PATIENT = "patient"  # ADT: the patient is another, or other than we knew; what was found out of him counts no more
    SIGN = "sign"  # a person takes the report as theirs: it goes out anew, final, amended or corrected
    RETRACT = "retract"  # a person takes back what is out
    REPLAY = "replay"  # a person says: again


_S, _E = Status, Event

MOVES: Mapping[tuple[Status, Event], Status] = {
    (_S.READY, _E.CLAIM): _S.RUNNING,
    (_S.READY, _E.CANCEL): _S.CANCELLED,
    (_S.READY, _E.CHANGE): _S.READY,
    (_S.READY, _E.PATIENT): _S.READY,
    (_S.READY, _E.HOLD): _S.HELD,  # an ADT message leaves open whose order it is
    (_S.READY, _E.SUSPEND): _S.ON_HOLD,
    (_S.READY, _E.RETRACT): _S.READY,
    (_S.RUNNING, _E.ADVANCE): _S.READY,
    (_S.RUNNING, _E.FINISH): _S.DONE,
    (_S.RUNNING, _E.WAIT): _S.WAITING,
    (_S.RUNNING, _E.HOLD): _S.HELD,
    (_S.RUNNING, _E.EXHAUST): _S.FAILED,
    (_S.RUNNING, _E.LOSE): _S.READY,
    (_S.RUNNING, _E.CANCEL): _S.CANCELLED,
    (_S.RUNNING, _E.CHANGE): _S.READY,
    (_S.RUNNING, _E.PATIENT): _S.READY,
    (_S.RUNNING, _E.SUSPEND): _S.ON_HOLD,
    (_S.RUNNING, _E.RETRACT): _S.READY,
    (_S.WAITING, _E.WAKE): _S.READY,
    (_S.WAITING, _E.CANCEL): _S.CANCELLED,
    (_S.WAITING, _E.CHANGE): _S.READY,
    (_S.WAITING, _E.PATIENT): _S.READY,
    (_S.WAITING, _E.HOLD): _S.HELD,
    (_S.WAITING, _E.SUSPEND): _S.ON_HOLD,
    (_S.WAITING, _E.RETRACT): _S.READY,
    (_S.ON_HOLD, _E.RESUME): _S.READY,
    (_S.ON_HOLD, _E.CANCEL): _S.CANCELLED,
    (_S.ON_HOLD, _E.CHANGE): _S.ON_HOLD,
    (_S.ON_HOLD, _E.PATIENT): _S.ON_HOLD,
    (_S.ON_HOLD, _E.HOLD): _S.HELD,
    (_S.ON_HOLD, _E.REPLAY): _S.READY,  # a person decides against the sender
    (_S.ON_HOLD, _E.RETRACT): _S.READY,
    (_S.HELD, _E.REPLAY): _S.READY,
    (_S.HELD, _E.CANCEL): _S.CANCELLED,
    (_S.HELD, _E.CHANGE): _S.READY,
    (_S.HELD, _E.PATIENT): _S.HELD,
    (_S.HELD, _E.HOLD): _S.HELD,  # for one more reason
    (_S.HELD, _E.SIGN): _S.READY,  # it was held for that: the report before was signed, too
    (_S.HELD, _E.RETRACT): _S.READY,
    (_S.FAILED, _E.REPLAY): _S.READY,
    (_S.FAILED, _E.CANCEL): _S.CANCELLED,
    (_S.FAILED, _E.CHANGE): _S.READY,
    (_S.FAILED, _E.PATIENT): _S.READY,
    (_S.FAILED, _E.HOLD): _S.HELD,
    (_S.FAILED, _E.RETRACT): _S.READY,
    (_S.DONE, _E.REPLAY): _S.READY,
    (_S.DONE, _E.PATIENT): _S.READY,  # the result goes out anew, in place of the one that is out
    (_S.DONE, _E.SIGN): _S.READY,
    (_S.DONE, _E.RETRACT): _S.READY,
    (_S.CANCELLED, _E.CANCEL): _S.CANCELLED,  # again: nothing but the reason changes
    (_S.CANCELLED, _E.REPLAY): _S.READY,  # ordered anew
    (_S.CANCELLED, _E.PATIENT): _S.CANCELLED,
}


_SPARES_A_WISH = (_E.SUSPEND, _E.RESUME, _E.WAKE, _E.PATIENT, _E.HOLD)
_STOPS_AT_A_RETRACTION = (_E.CANCEL, _E.CHANGE, _E.SUSPEND, _E.RESUME, _E.PATIENT, _E.HOLD, _E.SIGN)


class ForbiddenMove(ValueError):
    """The table has no such move."""


def after(status: Status, event: Event) -> Status:
    """The status that follows, by the table."""
    try:
        return MOVES[status, event]
    except KeyError:
        raise ForbiddenMove(f"{status} + {event}") from None


def allows(status: Status, event: Event) -> bool:
    """Whether the table has this move."""
    return (status, event) in MOVES


def from_outside(
    status: Status, event: Event, wish: str, *, out: bool, stage: Stage = Stage.CONTEXT
) -> tuple[Status | None, str]:
    """What an event from outside makes of a job: its next status (None: it stays what it is), and what is wished for it from then on.

    A cancel while a result may be `out` stays a wish, see `JobQueue.record`. A hold of what a person must look at first stays one, too:
    with the replay it counts. What was taken back stays so, whatever a sender says, until a person replays more than the delivery;
    `stage` is the one that the event leads to.
    """
    if wish == Event.RETRACT and event in _STOPS_AT_A_RETRACTION:
        return None, wish
    if event in (Event.SUSPEND, Event.RESUME) and status in (Status.HELD, Status.FAILED):
        if event is Event.SUSPEND:
            return None, Event.SUSPEND
        return None, "" if wish == Event.SUSPEND else wish
    if not allows(status, event):
        return None, wish
    if event is Event.CANCEL and out:
        return None, Event.CANCEL
    following = after(status, event)
    if event is Event.RETRACT or (wish == Event.RETRACT and (event is Event.WAKE or stage is Stage.DELIVER)):
        return following, Event.RETRACT
    if wish == Event.SUSPEND and following is Status.READY:
        return Status.ON_HOLD, ""
    if status is Status.ON_HOLD and following is Status.HELD:
        return following, Event.SUSPEND
    return following, wish if event in _SPARES_A_WISH else ""


def next_stage(stage: Stage) -> Stage | None:
    """The stage after this one; None after the last."""
    position = STAGES.index(stage) + 1
    return STAGES[position] if position < len(STAGES) else None


@dataclass(frozen=True, slots=True)
class Job:
    """One order on its way. `fence` grows with every claim; `wake_at` is set while `waiting`.

    `memo` is what a waiting step wants to remember until it runs again (JSON, no patient data).
    """

    id: str
    order: Order
    source: str  # hl7v2 | fhir
    stage: Stage
    status: Status
    reason: str
    attempts: int
    fence: int
    created: datetime
    updated: datetime
    wake_at: datetime | None = None
    models: tuple[str, ...] = ()
    memo: str = ""

    @property
    def priority(self) -> Priority:
        return self.order.priority
