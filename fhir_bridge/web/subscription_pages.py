"""The page of what the FHIR server tells us: each feed in plain words, its alarms, and the notifications that we could not use."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from flask import Blueprint, render_template, request

from fhir_bridge.feed import KINDS, Feed
from fhir_bridge.ports import CATCH_UP, Clock, JobStore
from fhir_bridge.watchdog import AlarmedFeeds

SHOWN_NOTIFICATIONS = 200

ALARM_WORDS: Mapping[str, str] = {
    "subscription.missing": "It is not on the FHIR server, and could not be made again.",
    "subscription.stopped": "The FHIR server has stopped it, and it could not be started again.",
    "subscription.not-activated": "The FHIR server has not activated it for more than ten minutes.",
    "subscription.not-seen": "Nobody has looked at it for long: the FHIR server is away, or our workers are.",
    "feed.catch-up-late": "For long, nobody could ask the FHIR server to the end for what it did not tell.",
    "feed.events-missed": "Within a day, changes were found by asking that it should have told.",
    "feed.silent": "Asking found changes, but it has told nothing for long.",
}


_STATES: Mapping[str, tuple[str, str]] = {
    "active": ("The server tells us.", "accepted"),
    "requested": ("The server is about to activate it.", "waiting"),
    "missing": ("It is not on the server.", "refused"),
    "off": ("It is switched off.", "refused"),
    "error": ("The server gave up calling us.", "refused"),
    "": ("Nobody has looked at it yet.", "waiting"),
}


@dataclass(frozen=True, slots=True)
class FeedShown:
    """A feed with its state in words."""

    feed: Feed
    state: str
    status: str  # one word
    tone: str  # of the stylesheet: accepted, waiting, refused, or empty
    alarms: tuple[tuple[str, str], ...]  # code and words


def subscription_pages(
    store: JobStore, clock: Clock, feeds: AlarmedFeeds, before_request: Callable[[], None]
) -> Blueprint:
    """`/subscriptions`. May raise Unavailable, which the application answers."""
    blueprint = Blueprint("subscriptions", __name__)
    blueprint.before_request(before_request)

    @blueprint.get("/subscriptions")
    def subscriptions() -> str:
        counts = store.notification_counts()
        return render_template(
            "subscriptions.html",
            now=clock.now(),
            live=request.args.get("live") == "1",
            feeds=[shown(feed, alarms) for feed, alarms in feeds()],
            counts={status: counts.get(status, 0) for status in ("ready", "done", "quarantined")},
            quarantined=[
                (one, _word(one.subscription, {*KINDS, CATCH_UP}), _word(one.resource_type, KINDS.values()))
                for one in store.notifications(["quarantined"], SHOWN_NOTIFICATIONS)
            ],
            limit=SHOWN_NOTIFICATIONS,
        )

    return blueprint


def shown(feed: Feed, alarms: tuple[str, ...]) -> FeedShown:
    """How the feed stands, for people."""
    words = tuple((alarm, ALARM_WORDS[alarm]) for alarm in alarms)
    if not feed.wanted:
        return FeedShown(feed, "Nobody has subscribed: the server is only asked.", "", "", words)
    state, tone = _STATES.get(feed.status, ("The server has stopped it.", "refused"))
    return FeedShown(feed, state, (_word(feed.status, _STATES) or "not seen"), tone, words)


def _word(said: str, known: Collection[str]) -> str:
    """Words that we know; what else a caller said may hold anything."""
    return said if said in known else "another" if said else ""
