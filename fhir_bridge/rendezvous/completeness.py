"""Is the study complete? Decided by a fingerprint of its source instances that stands still, never by an event of the PACS. Pure."""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fhir_bridge.study import InstanceRef

# Results and annotations: they arrive late, ours among them, and are no input of a model.
_NOT_SOURCE_MODALITIES = frozenset({"SR", "SEG", "KO", "PR", "DOC", "OT"})
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# The same by SOP Class (PS3.4 Table B.5-1), for the archive that lists no modality, or the series that hides it.
_NOT_SOURCE_CLASSES = (
    f"{_STORAGE}88.",  # Structured Reports and Key Object Selection
    f"{_STORAGE}11.",  # Presentation States
    f"{_STORAGE}66.4",  # Segmentation
    f"{_STORAGE}66.5",  # Surface Segmentation
    f"{_STORAGE}66.7",  # Label Map Segmentation
    f"{_STORAGE}104.",  # Encapsulated PDF, CDA, STL ...
)
NO_IMAGES = "study.no-images"
STILL_ARRIVING = "study.still-arriving"


def source_instances(instances: Iterable[InstanceRef], our_series: Collection[str] = ()) -> tuple[InstanceRef, ...]:
    """The images that the study was made for: no results, documents, annotations, and none of our own series."""
    return tuple(
        instance
        for instance in instances
        if instance.modality not in _NOT_SOURCE_MODALITIES
        and not instance.sop_class_uid.startswith(_NOT_SOURCE_CLASSES)
        and instance.series_instance_uid not in our_series
    )


def fingerprint(instances: Iterable[InstanceRef]) -> str:
    """SHA-256, lower-case hex, of the sorted SOP Instance UIDs: which instances, in whatever order they are listed."""
    uids = sorted({instance.sop_instance_uid for instance in instances})
    return hashlib.sha256("\n".join(uids).encode()).hexdigest()


_NOTHING = fingerprint(())


@dataclass(frozen=True, slots=True)
class Watch:
    """Since when the study has looked like this."""

    fingerprint: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Complete:
    """The study has stood still long enough. The fingerprint is the idempotency key of the run."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """Look again at `wake_at`, with this watch."""

    watch: Watch
    wake_at: datetime


@dataclass(frozen=True, slots=True)
class Expired:
    """The deadline is over. `reason` is `study.no-images` or `study.still-arriving`."""

    reason: str


Verdict = Complete | NotYet | Expired


def judge(
    instances: Iterable[InstanceRef],
    watch: Watch | None,
    now: datetime,
    quiet_seconds: float,
    deadline_seconds: float,
    first_seen: datetime,
    *,
    poll_seconds: float = 15,
    our_series: Collection[str] = (),
) -> Verdict:
    """What one look at the listed instances means. `watch` is that of the last look, `first_seen` when waiting began.

    Past the deadline a study that stands still gets the rest of its quiet time (we may have been down while it came); one that
    changes again, or has no image, does not.
    """
    sources = source_instances(instances, our_series)
    seen = fingerprint(sources)
    overdue = now >= first_seen + timedelta(seconds=deadline_seconds)
    if not sources and overdue:
        return Expired(NO_IMAGES)
    if watch is None or watch.fingerprint != seen:
        if overdue and watch is not None and watch.fingerprint != _NOTHING:
            return Expired(STILL_ARRIVING)
        watch = Watch(seen, now)
    if not sources:
        return NotYet(watch, now + _pause(now - first_seen, poll_seconds))
    quiet_until = watch.since + timedelta(seconds=quiet_seconds)
    return Complete(seen) if now >= quiet_until else NotYet(watch, quiet_until)


def _pause(waited: timedelta, poll_seconds: float) -> timedelta:
    """Between two looks for the first image: longer the longer it has been waited for, up to eight times `poll_seconds`."""
    poll = timedelta(seconds=poll_seconds)
    return min(max(poll, waited / 20), 8 * poll)
