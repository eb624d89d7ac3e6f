import base64
import re
import zlib

import pytest

from mappings.finding import Report
from mappings.pdf_report import pdf_of
from tests.support.reports import a_refused_report, a_report


def texts(pdf: bytes) -> str:
    """What the page content streams draw: reportlab writes them Flate in ASCII85, strings in brackets."""
    drawn = []
    for stream in re.findall(rb"/ASCII85Decode /FlateDecode \][^>]*>>\s*stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        content = zlib.decompress(base64.a85decode(b"<~" + stream.strip(), adobe=True))
        drawn += re.findall(rb"\((.*?)(?<!\\)\) Tj", content)
    return " ".join(b" ".join(drawn).decode("cp1252").split())


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", pdf))


@pytest.mark.parametrize("report", [a_report(), a_refused_report()], ids=["analysed", "refused"])
def test_the_same_report_gives_the_same_bytes(report: Report) -> None:
    assert pdf_of(report) == pdf_of(report)


def test_no_time_of_making_stands_in_it() -> None:
    pdf = pdf_of(a_report())

    assert set(re.findall(rb"/(?:CreationDate|ModDate) \(D:(\d{8})", pdf)) == {b"20000101"}


def test_it_says_the_words_and_shows_the_picture() -> None:
    pdf = pdf_of(a_report(0.87))
    text = texts(pdf)

    for words in (
        "Preliminary",
        "Pneumonia: present",
        "0.87",
        "Grad-CAM",
        "Job job-7f3c, issued 2026-01-15 08:30 UTC",
        "Recommendations",
    ):
        assert words in text
    assert b"/Subtype /Image" in pdf
    assert pages(pdf) in (1, 2)


def test_a_refused_study_shows_the_reason_and_no_picture() -> None:
    pdf = pdf_of(a_refused_report())

    assert "Not analysed because" in texts(pdf)
    assert b"/Subtype /Image" not in pdf


def test_no_identifier_of_patient_order_or_study_stands_in_it() -> None:
    pdf = pdf_of(a_report())
    text = texts(pdf) + pdf.decode("latin-1")

    for value in ("CANARY", "Patient/", "ServiceRequest/", "1.2.840.99.1"):
        assert value not in text


def test_markup_and_foreign_letters_in_words_are_drawn_as_text() -> None:
    pdf = pdf_of(a_report(caveats=("age ≥ 5 & <b>not</b> tested, 日本",)))

    assert "age>=5&<b>not</b>tested,??" in texts(pdf).replace(" ", "")  # drawn in pieces
