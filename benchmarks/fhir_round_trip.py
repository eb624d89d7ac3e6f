"""From an order on a real HAPI to its DiagnosticReport: our time against the sum of HAPI's own round trips for the same requests.

    python benchmarks/fhir_round_trip.py [--rounds 15] [--folder DIR]

First one order goes through a proxy that keeps every request of ours. Then orders are served one at a time, without the proxy, and each
is followed by a replay: a bare client sends the same requests one after the other about another patient and order, and only waits for
HAPI. Ours is the time from the hook to the end of the job but for: the study step (retrieval and quiet time) and the analysis (the
model). HAPI's interval until it calls the hook is before that. Goal: the median of ours at most 1.5 times the median of the replays.
Prints one JSON object, with the shares of both; exit code 1 where the goal is missed or an order failed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GOAL = 1.5
SENT_ON = ("accept", "cache-control", "content-type", "if-match", "if-none-exist", "prefer")
SETTINGS = {
    "fhir.profile": "hapi",
    "fhir.catch_up_seconds": "3600",  # nothing but the order's own requests
    "fhir.watch_seconds": "3600",
    "study.quiet_seconds": "0.1",
    "study.poll_seconds": "0.1",
}
LABORATORY = {"coding": [{"system": "http://snomed.info/sct", "code": "108252007", "display": "Laboratory procedure"}]}


@dataclass(frozen=True)
class Template:
    """The requests that one order took, and the words in them that are of that order alone."""

    requests: list[Any]
    words: tuple[str, ...]

    def fill(self, words: tuple[str, ...], text: str) -> str:
        """The same about another order."""
        for old, new in sorted(zip(self.words, words, strict=True), key=lambda pair: -len(pair[0])):
            text = text.replace(old, new)
        return text


def words_of(story: Any, job: str) -> tuple[str, ...]:
    """What names the order, its patient and its images in our requests."""
    from fhir_bridge.practice.story import uid

    film = [uid(f"{story.name}/{part}") for part in ("instance", "series")]
    numbers = (story.placer, story.filler, story.accession, story.patient.mrn)
    return (story.name, story.study_instance_uid, *film, *numbers, job)


def serve(site: Any, name: str) -> tuple[Any, Any]:
    """One order from its placing to the end of its job."""
    from tests.support.bridge import a_story

    story = a_story(name)
    site.admit(story)
    site.film(story)
    site.place(story)
    job = site.await_end(story)
    if job.status != "done":
        raise SystemExit(f"an order ended {job.status}: {job.reason}")
    return story, job


def recorded(proxy: Any, site: Any) -> Template:
    """What the third order asked: the first warm up what is asked once."""
    for _ in range(2):
        serve(site, "warm-up")
    kept: list[Any] = []
    proxy.trouble = kept.append  # returns None: everything goes through
    story, job = serve(site, "recorded")
    return Template(kept, words_of(story, job.id))


def replayed(template: Template, session: Any, origin: str, story: Any, number: int) -> list[float]:
    """Seconds of each request, about this story, one after the other."""
    words = words_of(story, f"{number:032x}")
    seconds = []
    for asked in template.requests:
        headers = {name: asked.headers[name] for name in SENT_ON if name in asked.headers}
        headers = {name: template.fill(words, value) for name, value in headers.items()}
        body = template.fill(words, asked.body.decode()).encode()
        began = time.perf_counter()
        answer = session.request(
            asked.method, f"{origin}{template.fill(words, asked.path)}", data=body, headers=headers, timeout=60
        )
        seconds.append(time.perf_counter() - began)
        if answer.status_code >= 400:
            raise SystemExit(f"the replay of {asked.method} was answered {answer.status_code}")
    return seconds


def parts_of(site: Any, story: Any, job: Any) -> dict[str, float]:
    """Where our time went, in seconds, by the job's timeline."""
    from fhir_bridge.practice import patients

    own = patients.service_request_reference(story).partition("/")[2]
    hooks = [n.received for n in site.store.notifications(limit=50) if n.resource_id == own and n.received]
    history = site.store.history(job.id)

    def first(event: str, stage: str) -> datetime:
        return next(entry.at for entry in history if (entry.event, entry.stage) == (event, stage))

    marks = {
        "hook to job": (min(hooks), first("received", "context")),
        "until the context step": (first("received", "context"), first("claim", "context")),
        "context": (first("claim", "context"), first("advance", "study")),
        "until the study step": (first("advance", "study"), first("claim", "study")),
        "deidentify": (first("advance", "deidentify"), first("advance", "analyse")),
        "until the analysis": (first("advance", "analyse"), first("claim", "analyse")),
        "report": (first("advance", "report"), first("advance", "deliver")),
        "deliver": (first("advance", "deliver"), first("finish", "deliver")),
    }
    return {name: (end - start).total_seconds() for name, (start, end) in marks.items()}


def measure(rounds: int, folder: Path) -> dict[str, Any]:
    """Records, then serves and replays in turn."""
    sys.path.insert(0, str(ROOT))
    import requests

    from tests.support.bridge import a_story
    from tests.support.fhir_hospital import real_hospital
    from tests.support.fhir_site import running_site
    from tests.support.hapi import HAPI_WORK
    from tests.support.proxy import proxy_for

    with ExitStack() as stack:
        hapi = stack.enter_context(real_hospital("hapi", HAPI_WORK, folder / "database"))
        proxy = stack.enter_context(proxy_for(hapi.base_url))
        through = SETTINGS | {"fhir.base_url": proxy.url}
        with running_site(hapi, folder / "recorded", through) as site:
            site.process.subscribe()
            template = recorded(proxy, site)
            for subscription in hapi.all_of("Subscription"):
                hapi.delete(f"Subscription/{subscription['id']}")
        site = stack.enter_context(running_site(hapi, folder / "timed", SETTINGS))
        stand_ins = [replace(a_story("stand-in")) for _ in range(rounds + 1)]
        for story in stand_ins:
            site.admit(story)
            site.place(story, category=[LABORATORY])  # not for the bridge
        site.process.subscribe()
        serve(site, "warm-up")
        session = stack.enter_context(requests.Session())
        session.trust_env = False
        origin = hapi.base_url.removesuffix("/fhir")
        parts, replays = [], []
        for number, story in enumerate(stand_ins):
            parts.append(parts_of(site, *serve(site, "timed")))
            replays.append(replayed(template, session, origin, story, number))
    return summary(template, parts[1:], replays[1:])


def summary(template: Template, parts: list[dict[str, float]], replays: list[list[float]]) -> dict[str, Any]:
    """Medians in milliseconds."""

    def ms(values: list[float]) -> float:
        return round(1000 * statistics.median(values), 1)

    ours, theirs = [sum(part.values()) for part in parts], [sum(replay) for replay in replays]
    names = [
        f"{a.method} {a.path.partition('?')[0].removeprefix('/fhir').strip('/') or 'Bundle'}" for a in template.requests
    ]
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {
        "rounds": len(parts),
        "ours_ms": ms(ours),
        "hapi_round_trips_ms": ms(theirs),
        "ratio": round(statistics.median(ours) / statistics.median(theirs), 2),
        "ratio_of_single_rounds": [round(min(ratios), 2), round(max(ratios), 2)],
        "goal": GOAL,
        "goal_met": statistics.median(ours) <= GOAL * statistics.median(theirs),
        "our_parts_ms": {name: ms([part[name] for part in parts]) for name in parts[0]},
        "requests": len(names),
        "request_ms": [[name.split("/")[0], ms([r[at] for r in replays])] for at, name in enumerate(names)],
    }


def main() -> int:
    """Runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the run's files stay; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="round-trip-") as temporary:
        result = measure(arguments.rounds, arguments.folder or Path(temporary))
    print(json.dumps(result, indent=2))
    return 0 if result["goal_met"] else 1


if __name__ == "__main__":
    sys.exit(main())
