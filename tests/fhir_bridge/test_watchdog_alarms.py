"""What of a feed is an alarm."""

from dataclasses import replace
from datetime import timedelta

import pytest

from fhir_bridge.feed import Feed
from fhir_bridge.watchdog import Patience, alarms
from tests.support.frozen_clock import START as NOW

PATIENCE = Patience(quiet=timedelta(hours=24), catch_up=timedelta(minutes=5), watch=timedelta(minutes=5))
WELL = Feed("orders", wanted=True, status="active", status_since=NOW - timedelta(days=9), reference="Subscription/1",
            looked=NOW, caught_up=NOW, heard=NOW)  # fmt: skip


def before(**span: float) -> object:
    return NOW - timedelta(**span)


CASES: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "all is well": ({}, ()),
    "never looked at yet": ({"status": "", "status_since": None, "looked": None}, ()),
    "missing": ({"status": "missing"}, ("subscription.missing",)),
    "off": ({"status": "off"}, ("subscription.stopped",)),
    "error": ({"status": "error"}, ("subscription.stopped",)),
    "about to be activated": ({"status": "requested", "status_since": before(minutes=10)}, ()),
    "never activated": (
        {"status": "requested", "status_since": before(minutes=10, seconds=1)},
        ("subscription.not-activated",),
    ),
    "not looked at for three turns": ({"looked": before(minutes=15)}, ()),
    "not looked at for longer": ({"looked": before(minutes=15, seconds=1)}, ("subscription.not-seen",)),
    "doubted just now": ({"looked": None, "heard": NOW}, ()),
    "doubted, and nobody could look since": (
        {"looked": None, "heard": before(minutes=15, seconds=1)},
        ("subscription.not-seen",),
    ),
    "trouble with asking, but not for long": ({"trouble": "fhir.unavailable", "caught_up": before(minutes=15)}, ()),
    "not asked for more than three intervals": (
        {"trouble": "fhir.unavailable", "caught_up": before(minutes=15, seconds=1)},
        ("feed.catch-up-late",),
    ),
    "never asked with success": ({"trouble": "fhir.unauthorized", "caught_up": None}, ("feed.catch-up-late",)),
    "never asked": ({"caught_up": None}, ()),
    "an event was missed today": ({"missed": 1, "last_missed": before(hours=24), "heard": NOW}, ("feed.events-missed",)),
    "an event was missed the day before": ({"missed": 1, "last_missed": before(hours=24, seconds=1)}, ()),
    "nothing heard, and nothing happened": ({"heard": before(days=8)}, ()),
    "nothing heard, but found": (
        {"heard": before(days=8), "missed": 3, "last_missed": before(days=2)},
        ("feed.silent",),
    ),
    "heard again since": ({"heard": before(hours=30), "missed": 3, "last_missed": before(hours=31)}, ()),
    "nothing heard ever, but found": (
        {"heard": None, "missed": 3, "last_missed": before(days=2)},
        ("feed.silent",),
    ),
    "nothing heard for less than the quiet time": (
        {"heard": before(hours=24), "missed": 3, "last_missed": before(hours=1)},
        ("feed.events-missed",),
    ),
    "nobody subscribed": (
        {"wanted": False, "status": "off", "last_missed": NOW, "heard": None, "looked": before(days=3)},
        (),
    ),
    "nobody subscribed, and asking is late": (
        {"wanted": False, "status": "", "caught_up": before(hours=1)},
        ("feed.catch-up-late",),
    ),
    "several": (
        {"status": "off", "caught_up": before(hours=1), "last_missed": before(hours=1)},
        ("subscription.stopped", "feed.catch-up-late", "feed.events-missed"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), CASES.values(), ids=CASES.keys())
def test_an_alarm_is_what_a_person_must_look_at(changes: dict[str, object], expected: tuple[str, ...]) -> None:
    assert alarms(replace(WELL, **changes), NOW, PATIENCE) == expected  # type: ignore[arg-type]
