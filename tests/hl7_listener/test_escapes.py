"""Escape sequences, by the text of HL7 v2.5.1 §2.7."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7_listener.delimiters import Delimiters
from hl7_listener.escapes import escape, unescape

USUAL = Delimiters(truncation="#")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("plain", "plain"),
        (r"a\F\b\S\c\T\d\R\e\E\f\P\g", r"a|b^c&d~e\f#g"),
        (r"\E\F\E\ ", r"\F\ "),
        (r"\X41\ ", "A "),
        (r"\X4142\ ", "AB "),
        (r"\XC3A9\ ", "é "),
        (r"\XC3\\XA9\ ", "é "),
        (r"\X0D\ ", "\r "),
        (r"\XFF\ ", r"\XFF\ "),  # no UTF-8: kept as it came
        (r"\X4\ ", r"\X4\ "),
        (r"\H\loud\N\ quiet", "loud quiet"),
        (r"one\.br\two", "one\ntwo"),
        (r"one\.sp2\two", "one\n\ntwo"),
        (r"one\.sp 3\two", "one\n\n\ntwo"),
        (r"one\.sp\two", "one\ntwo"),
        (r"one\.sk3\two\.sk\three", "one   two three"),
        (r"\.in+4\a\.ti-2\b\.fi\c\.nf\d", "abcd"),
        (r"\.ce\title", "\ntitle"),
        (r"\Z77\ ", r"\Z77\ "),  # local
        (r"\C2842\ ", r"\C2842\ "),
        (r"C:\dir\new", r"C:\dir\new"),
        (r"lone \ here", r"lone \ here"),
        (r"\"\T\"", r"\"&" + '"'),  # an unknown one does not swallow the next
        ("\\", "\\"),
    ],
)
def test_a_sequence_gives_what_it_stands_for_and_the_unknown_stays(written: str, meant: str) -> None:
    """item 22"""
    assert unescape(written, USUAL, "utf-8") == meant


def test_hexadecimal_bytes_are_in_the_message_s_character_set() -> None:
    """item 22"""
    assert unescape(r"\XE9\ ", USUAL, "iso8859-1") == "é "


def test_other_delimiters_have_other_sequences() -> None:
    """items 20 and 22"""
    assert unescape(r"!F!\F\ ", Delimiters("$", "%", "+", "!", "@"), "utf-8") == r"$\F\ "


def test_a_truncation_mark_that_was_not_declared_stays() -> None:
    assert unescape(r"\P\ ", Delimiters(), "utf-8") == r"\P\ "


@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n")))
def test_what_was_escaped_reads_as_it_was(text: str) -> None:
    written = escape(text, USUAL)

    assert unescape(written, USUAL, "utf-8") == text
    assert not set(written) & set("|^&~")


def test_line_ends_become_line_breaks() -> None:
    assert escape("a\rb\nc", USUAL) == r"a\.br\b\.br\c"


def test_without_an_escape_character_delimiters_become_blanks() -> None:
    assert escape("a|b^c", Delimiters("|", "^", "~", "", "")) == "a b c"
