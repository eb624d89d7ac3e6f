"""`fhir-bridge convert`: the Bundle, the trace, refusals with their place, the exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fhir_bridge.cli.convert import convert

ORDER = """MSH|^~\\&|RIS|HOSP|BRIDGE|AI|20260115080000||ORM^O01|M1|P|2.5.1
PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA
ORC|NW|P1
OBR|1|P1||XCH^Chest^L||20260716090000
"""
REFUSED = ORDER.replace("ORC|NW|P1", "ORC|NW").replace("OBR|1|P1", "OBR|1|")


class Verb:
    """`convert` on files in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, text: str, *words: str) -> Result:
        file = self.folder / "order.hl7"
        file.write_text(text)
        return CliRunner().invoke(convert, [str(file), "--data-dir", str(self.folder / "data"), *words])


@pytest.fixture
def verb(tmp_path: Path) -> Verb:
    return Verb(tmp_path)


@pytest.mark.prints_identifiers
def test_a_message_is_printed_as_a_bundle_by_the_sites_rules(verb: Verb) -> None:
    words = ("--set", "authority.HOSP.system=urn:oid:1.2.3", "--set", "sender.time_zone=Europe/Berlin")

    done = verb.run(ORDER, *words)

    bundle = json.loads(done.output)
    assert (done.exit_code, bundle["type"]) == (0, "transaction")
    assert bundle["entry"][0]["resource"]["identifier"][0]["system"] == "urn:oid:1.2.3"
    assert bundle["entry"][1]["resource"]["occurrenceDateTime"] == "2026-07-16T09:00:00+02:00"


@pytest.mark.prints_identifiers
def test_the_rules_of_the_messages_sender_hold(verb: Verb) -> None:
    """item 29: a zone for one sender."""
    done = verb.run(
        ORDER, "--set", "senders.ris.application=RIS", "--set", "senders.ris.time_zone=Asia/Tokyo", "--json"
    )

    assert json.loads(done.output)["entry"][1]["resource"]["occurrenceDateTime"] == "2026-07-16T09:00:00+09:00"


def test_the_trace_says_where_each_element_came_from_and_no_value(verb: Verb) -> None:
    done = verb.run(ORDER, "--trace")

    assert "  ServiceRequest[1].code <- OBR^1^4\n" in done.output
    assert "CANARY" not in done.output
    assert done.exit_code == 0


def test_the_trace_as_json(verb: Verb) -> None:
    done = verb.run(ORDER, "--trace", "--json")

    assert {"element": "Patient[1].name", "source": "PID^1^5"} in json.loads(done.output)["trace"]


def test_a_refused_message_is_named_with_its_place(verb: Verb) -> None:
    done = verb.run(REFUSED)

    assert done.exit_code == 1
    assert done.output.split(": ", 1)[1].startswith("order.key-missing at ORC^1^2: ")


@pytest.mark.prints_identifiers
def test_a_batch_makes_a_bundle_of_each_message_that_can_be_read(verb: Verb) -> None:
    batch = "BHS|^~\\&|RIS|HOSP\n" + ORDER + REFUSED + ORDER.replace("P1", "P2") + "BTS|3\n"

    done = verb.run(batch, "--json")

    lines = [line for line in done.output.splitlines() if line.startswith("{")]
    assert [json.loads(line)["entry"][1]["resource"]["identifier"][0]["value"] for line in lines] == ["P1", "P2"]
    assert (done.exit_code, "order.hl7#2: order.key-missing" in done.output) == (1, True)


@pytest.mark.parametrize("text", ["", "not HL7", "MSH|"])
def test_what_is_no_message_is_refused_and_not_shown(verb: Verb, text: str) -> None:
    done = verb.run(text)

    assert done.exit_code == 1
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_looking_at_the_server_needs_a_server(verb: Verb) -> None:
    done = verb.run(ORDER, "--present")

    assert (done.exit_code, done.output) == (2, "convert: --present needs fhir.base_url\n")
