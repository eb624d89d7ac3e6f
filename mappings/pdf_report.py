"""The report as a PDF for people: one or two pages, words and the overlay picture. No patient identifier stands in it.

The same report gives the same bytes (no creation time, no random id), so that a repeated delivery changes nothing.
"""

from datetime import UTC
from functools import lru_cache
from io import BytesIO
from xml.sax.saxutils import escape

from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.platypus import Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer

from mappings.finding import Report
from mappings.narrative import narrative_of

_PICTURE_SIDE = 90 * mm
TITLE = "Imaging AI result"


@lru_cache(maxsize=8)  # a delivery that is tried again and again draws it once
def pdf_of(report: Report) -> bytes:
    """A PDF of the report's narrative. It names job and model; order, study and patient stand in the resource that carries it."""
    narrative = narrative_of(report)
    styles = getSampleStyleSheet()
    story: list[Flowable] = [
        Paragraph(TITLE, styles["Title"]),
        Paragraph(_text(narrative.status), _boxed(styles["BodyText"])),
        Spacer(1, 4 * mm),
        Paragraph(
            _text(f"Job {report.job}, issued {report.issued.astimezone(UTC):%Y-%m-%d %H:%M} UTC{_signature(report)}"),
            styles["BodyText"],
        ),
    ]
    for heading, sentences in (
        ("Findings", narrative.findings),
        ("Impression", narrative.impression),
        ("Recommendations", narrative.recommendations),
        ("Model and limits", narrative.limits),
    ):
        if sentences:
            lines = [Paragraph(_text(sentence), styles["BodyText"]) for sentence in sentences]
            story.append(KeepTogether([Paragraph(heading, styles["Heading2"]), *lines]))
    story += _picture(report, styles["BodyText"])
    buffer = BytesIO()
    document = SimpleDocTemplate(buffer, pagesize=A4, invariant=1, title=TITLE, author="fhir-bridge", lang="en")
    document.build(story)
    return buffer.getvalue()


def _signature(report: Report) -> str:
    """Who decided, by the server's own reference: no name stands here either."""
    decision = report.decision
    if decision is None:
        return ""
    return f"; {report.status} by {decision.by}, {decision.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _picture(report: Report, style: ParagraphStyle) -> list[Flowable]:
    """The overlay in its proportions, with a line that says what it is and is not."""
    if report.explanation_png is None:
        return []
    width, height = ImageReader(BytesIO(report.explanation_png)).getSize()
    scale = _PICTURE_SIDE / max(width, height)
    picture = Image(BytesIO(report.explanation_png), width * scale, height * scale)
    method = report.explanation_method or "an attribution method"
    caption = (
        f"Where the model looked ({method}). The colours show influence on the answer, not the extent of a disease."
    )
    return [Spacer(1, 4 * mm), KeepTogether([picture, Paragraph(_text(caption), style)])]


def _boxed(style: ParagraphStyle) -> ParagraphStyle:
    return ParagraphStyle("Status", parent=style, borderWidth=1, borderColor="black", borderPadding=4)


def _text(words: str) -> str:
    """Words for a Paragraph: markup escaped, and what the standard fonts cannot show replaced by `?`."""
    return escape(words.replace("≥", ">=").replace("≤", "<=").encode("cp1252", "replace").decode("cp1252"))
