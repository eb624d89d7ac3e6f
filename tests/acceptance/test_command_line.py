"""The verbs of `fhir-bridge` as a user types them, each a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.practice import film
from fhir_bridge.practice.fhir_peer import FhirPeer
from fhir_bridge.practice.ris import order_message
from tests.support.bridge import SETTINGS, Bridge, a_story, running_bridge, until
from tests.support.film_bytes import film_of
from tests.support.serve_process import unlistened_port

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]


class CommandLine:
    """Runs verbs on one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "fhir_bridge", *words, "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, capture_output=True, timeout=120)  # bytes: text mode would change line ends
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())

    def lines(self, *words: str) -> list[dict[str, Any]]:
        """The JSON objects that a verb prints."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def installed(hapi: FhirPeer, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """What `init` makes; the archive is a folder."""
    line = CommandLine(tmp_path_factory.mktemp("installed") / "bridge")
    settings = SETTINGS | {"fhir.base_url": hapi.base_url}
    done = line.run("init", *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")))
    assert done.returncode == 0, done.stderr
    return line


@pytest.fixture(scope="module")
def served(installed: CommandLine, hapi: FhirPeer) -> Iterator[Bridge]:
    """`serve` with nothing but the file that `init` wrote."""
    with FhirClient(hapi.base_url) as fhir, running_bridge(installed.data_dir, fhir) as bridge:
        yield bridge


def test_an_order_is_served_with_the_file_that_init_wrote(installed: CommandLine, served: Bridge) -> None:
    story = a_story("installed")
    served.admit(story)
    film.store(story, installed.data_dir / "pacs")
    answer = served.send(story)
    job = served.await_status(story, "done", "held", "failed")
    assert (answer, job.status) == ("AA", "done")


def test_init_does_not_write_over_a_configuration(installed: CommandLine) -> None:
    before = (installed.data_dir / "fhir-bridge.toml").read_bytes()
    done = installed.run("init")
    assert (done.returncode, (installed.data_dir / "fhir-bridge.toml").read_bytes()) == (2, before)


def test_a_second_server_on_the_same_data_is_refused(installed: CommandLine, served: Bridge) -> None:
    done = installed.run("serve")
    assert (done.returncode, done.stdout) == (2, "")
    assert "server.already-running" in done.stderr


def test_an_unknown_setting_is_refused_with_its_path(installed: CommandLine) -> None:
    done = installed.run("serve", "--set", "mllp.prot=2575")
    assert done.returncode == 2
    assert "configuration: mllp.prot:" in done.stderr


def test_an_unknown_setting_of_the_file_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "fhir-bridge.toml").write_text("[study]\nquite_seconds = 60\n")
    done = CommandLine(tmp_path).run("check")
    assert done.returncode == 2
    assert "configuration: study.quite_seconds:" in done.stderr


def test_check_finds_nothing_wrong_with_a_bridge_that_works(installed: CommandLine) -> None:
    (checked,) = installed.lines("check")
    assert {name: result["ok"] for name, result in checked.items()} == dict.fromkeys(
        ("mllp", "sender", "store", "fhir", "archive", "models"), True
    )


def test_check_names_the_peer_that_does_not_answer(installed: CommandLine) -> None:
    done = installed.run("check", "--json", "--set", f"fhir.base_url=http://127.0.0.1:{unlistened_port()}/fhir")
    wrong = {name: result["detail"] for name, result in json.loads(done.stdout).items() if not result["ok"]}
    assert done.returncode == 1
    assert list(wrong) == ["fhir"]
    assert wrong["fhir"].startswith("fhir.unavailable")


def test_check_names_the_destination_that_does_not_answer(installed: CommandLine) -> None:
    there = ("destinations.ris.host=127.0.0.1", f"destinations.ris.port={unlistened_port()}")
    done = installed.run("check", "--json", *(word for value in there for word in ("--set", value)))
    wrong = {name: result["detail"] for name, result in json.loads(done.stdout).items() if not result["ok"]}
    assert done.returncode == 1
    assert list(wrong) == ["destinations.ris"]
    assert wrong["destinations.ris"].startswith("mllp.unreachable")


def test_the_models_are_verified(installed: CommandLine) -> None:
    done = installed.run("models", "verify")
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["ok", "xray_pneumonia"])


def test_a_film_is_analysed_without_an_order(installed: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_bytes(film_of(a_story("analysed")))
    done = installed.run("analyze", str(tmp_path), "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert {"status", "prediction", "analysis", "report", "quality_score", "timestamp"} <= set(answer)
    assert answer["status"] == "analysed"
    assert answer["prediction"]["pneumonia"]["present"] == "Present"
    assert 0 <= answer["prediction"]["pneumonia"]["probability"] <= 1
    assert 0 <= answer["quality_score"] <= 1
    assert datetime.fromisoformat(answer["timestamp"]).tzinfo
    assert "CANARY" not in done.stdout + done.stderr
    assert list((installed.data_dir / "deidentified").rglob("analyze-*")) == []


def test_a_study_that_is_refused_is_not_analysed_and_says_why(installed: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "slice.dcm").write_bytes(film_of(a_story("ct"), SOPClassUID=CTImageStorage, Modality="CT"))
    done = installed.run("analyze", str(tmp_path), "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert {"status", "prediction", "analysis", "report", "quality_score", "timestamp"} <= set(answer)
    assert (answer["status"], answer["reason"]) == ("not_analysed", "deid.sop-class-unsupported")
    assert (answer["prediction"], answer["quality_score"]) == ({}, None)


def test_a_held_job_is_replayed_once_its_cause_is_gone(installed: CommandLine, served: Bridge) -> None:
    story = a_story("replayed")
    film.store(story, installed.data_dir / "pacs")
    served.send(story)
    held = served.await_status(story, "held")
    served.admit(story)
    done = installed.run("jobs", "replay", held.id[:12])
    job = served.await_status(story, "done", "failed")
    (line,) = [line for line in installed.lines("jobs", "list") if line["job"] == held.id]
    assert (held.reason, done.returncode, job.status) == ("patient.not-found", 0, "done")
    assert (line["status"], line["placer"], line["accession"], line["source"]) == (
        "done", story.placer, story.accession, "hl7v2",
    )  # fmt: skip
    assert len(served.reports_of(job)) == 1


def test_a_done_job_that_is_replayed_corrects_its_report_and_makes_no_second(
    installed: CommandLine, served: Bridge
) -> None:
    story = a_story("replayed-when-done")
    served.admit(story)
    film.store(story, installed.data_dir / "pacs")
    served.send(story)
    job = served.await_status(story, "done", "held", "failed")
    first = served.report_of(job)
    done = installed.run("jobs", "replay", job.id, "--from", "analyse")
    until(lambda: [event for event, _ in served.timeline(story)].count("finish") == 2, "a second end")
    second = served.report_of(job)
    assert done.returncode == 0
    assert (second["id"], second["status"], second["meta"]["versionId"]) == (first["id"], "preliminary", "2")
    assert [one["reference"] for one in second["result"]] == [one["reference"] for one in first["result"]]


def test_a_person_signs_a_result_once_and_takes_it_back(installed: CommandLine, served: Bridge) -> None:
    story = a_story("signed")
    served.admit(story)
    served.put({"resourceType": "Practitioner", "id": "radiologist-1", "active": True})
    film.store(story, installed.data_dir / "pacs")
    served.send(story)
    job = served.await_status(story, "done", "held", "failed")
    by = ("--by", "Practitioner/radiologist-1", "--json")
    (signed,) = installed.lines("jobs", "sign", job.id, *by[:2])
    until(lambda: served.report_of(job)["status"] == "final", "the signed report")
    served.await_status(story, "done")
    again = installed.run("jobs", "sign", job.id, *by)
    nobody = installed.run("jobs", "retract", job.id, "--reason", "other", "--by", "Practitioner/nobody")
    (back,) = installed.lines("jobs", "retract", job.id, "--reason", "wrong-patient", *by[:2])
    until(lambda: served.report_of(job)["status"] == "entered-in-error", "the retraction")
    results = [served.fhir.read(one["reference"])["status"] for one in served.report_of(job)["result"]]
    assert (signed["report"], back["report"], {*results}) == ("final", "entered-in-error", {"entered-in-error"})
    assert [(done.returncode, done.stderr.split()[2]) for done in (again, nobody)] == [
        (1, "report.status-unfit"), (1, "report.person-unfit"),
    ]  # fmt: skip
    assert served.report_of(job)["resultsInterpreter"] == [{"reference": "Practitioner/radiologist-1"}]


def test_a_job_is_cancelled_once_and_not_again(installed: CommandLine, served: Bridge) -> None:
    story = a_story("cancelled-by-hand")
    served.admit(story)
    served.send(story)
    waiting = served.await_status(story, "waiting", stage="study")
    first = installed.run("jobs", "cancel", waiting.id)
    second = installed.run("jobs", "cancel", waiting.id)
    (shown,) = installed.lines("jobs", "show", waiting.id)
    assert (first.returncode, second.returncode) == (0, 1)
    assert (shown["status"], shown["reason"]) == ("cancelled", "operator.cancel")
    assert (shown["history"][-1]["event"], shown["deliveries"]) == ("cancel", [])


def test_a_message_that_was_sent_is_listed_and_kept_as_it_came(
    installed: CommandLine, served: Bridge, tmp_path: Path
) -> None:
    story = a_story("by-file")
    message = order_message(story, "NW", "FILE0001", datetime.now(UTC))
    order, garbage = tmp_path / "order.hl7", tmp_path / "garbage.hl7"
    order.write_bytes(message)
    garbage.write_bytes(b"no message at all\r")
    host, port = served.process.mllp
    done = installed.run(
        "send", str(order), str(garbage), "--set", f"mllp.host={host}", "--set", f"mllp.port={port}", "--json"
    )
    answers = [json.loads(line)["answer"] for line in done.stdout.splitlines()]
    listed = installed.lines("messages", "list")
    refused, accepted = listed[:2]
    raw = installed.run("messages", "show", str(accepted["message"]), "--raw").stdout
    assert (done.returncode, answers) == (1, ["AA", "AR"])
    assert (accepted["type"], accepted["answer"], accepted["jobs"]) == ("ORM^O01", "AA", [served.job_of(story).id])
    assert (refused["answer"], refused["jobs"]) == ("AR", [])
    assert raw.encode() == message
