"""Editions of a report: what tells two of them apart on a server, and whether one there is still as we wrote it."""

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime

from mappings.fhir_elements import Json, instant
from mappings.fhir_observations import outputs_of
from mappings.finding import Edition, Report
from mappings.narrative import narrative_of
from mappings.pdf_report import pdf_of


def edition_of(report: Report) -> Edition:
    """The report as it will be known again. Its status does not count for the mark: a retraction changes nothing else."""
    words = narrative_of(report).conclusion()
    mark = _mark(instant(report.issued), words, [pdf_digest(pdf_of(report))])
    return Edition(report.status, report.issued, mark, outputs_of(report))


def is_of(resource: Json, editions: Iterable[Edition]) -> bool:
    """Whether a DiagnosticReport is, in status, time and words, one of these."""
    issued = instant_or_text(str(resource.get("issued", "")))
    shown = instant(issued) if isinstance(issued, datetime) else issued
    hashes = [str(form.get("hash", "")) for form in resource.get("presentedForm", ())]
    mark = _mark(shown, str(resource.get("conclusion", "")), hashes)
    return (resource.get("status"), mark) in {(edition.status, edition.mark) for edition in editions}


def pdf_digest(pdf: bytes) -> str:
    """`Attachment.hash`, which is SHA-1 in R4 (§2.24.0.7)."""
    return base64.b64encode(hashlib.sha1(pdf, usedforsecurity=False).digest()).decode("ascii")


def instant_or_text(text: str) -> datetime | str:
    """The time, where it is one with a zone (R4 §2.24.0.1); else the text."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    return time if time.tzinfo else text


def _mark(issued: str, words: str, hashes: list[str]) -> str:
    return hashlib.sha256("\0".join((issued, words, *hashes)).encode()).hexdigest()
