"""Which rules hold for a message."""

import pytest

from fhir_bridge.senders import SenderRules, Senders
from hl7_listener.header import read_header

HEADER = read_header(b"MSH|^~\\&|RIS^1.2.3^ISO|HOSP|AI|HOSP|20260302||ORM^O01|M1|P|2.5.1\r")
DEFAULT = SenderRules()


def chosen(*rules: SenderRules, listener: str = "mllp") -> str:
    return Senders(DEFAULT, rules).rules_for(listener, HEADER).name


@pytest.mark.parametrize(
    "rule",
    [
        SenderRules("R", application="RIS^1.2.3^ISO"),
        SenderRules("R", application="RIS"),
        SenderRules("R", facility="HOSP"),
        SenderRules("R", listener="mllp"),
        SenderRules("R", application="RIS", facility="HOSP", listener="mllp"),
    ],
)
def test_a_rule_fits_by_whatever_it_names(rule: SenderRules) -> None:
    assert chosen(rule) == "R"


@pytest.mark.parametrize(
    "rule",
    [
        SenderRules("R", application="ris"),
        SenderRules("R", application="RIS", facility="OTHER"),
        SenderRules("R", application="RIS", listener="other"),
    ],
)
def test_a_rule_that_names_something_else_does_not_fit(rule: SenderRules) -> None:
    assert chosen(rule) == ""


def test_the_rule_that_names_most_wins() -> None:
    assert chosen(SenderRules("A", application="RIS"), SenderRules("B", application="RIS", facility="HOSP")) == "B"


def test_of_equals_the_first_wins() -> None:
    assert chosen(SenderRules("A", application="RIS"), SenderRules("B", facility="HOSP")) == "A"


def test_without_a_header_only_the_listener_tells() -> None:
    senders = Senders(DEFAULT, [SenderRules("A", application="RIS"), SenderRules("B", listener="mllp")])
    assert senders.rules_for("mllp", None).name == "B"


def test_rules_that_the_site_dropped_are_the_defaults_now() -> None:
    assert Senders(DEFAULT).called("gone") is DEFAULT
