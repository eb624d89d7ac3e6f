"""Draws the job's moves (`fhir_bridge.job.MOVES`) into docs/architecture.md. Run it after a change of the table."""

from pathlib import Path

from fhir_bridge.job import MOVES, Status

PAGE = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"
BEGIN, END = "<!-- job diagram: drawn by scripts/job_diagram.py -->\n", "<!-- end of the job diagram -->"


def draw() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {Status.READY}"]
    for (status, event), following in MOVES.items():
        lines.append(f"    {status} --> {following}: {event}")
    ends = [status for status in Status if not any(status == left for left, _ in MOVES)]
    lines += [f"    {status} --> [*]" for status in ends]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def drawn_in(page: str) -> str:
    """The diagram as the page has it."""
    return page.split(BEGIN)[1].split(END)[0]


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.replace(BEGIN + drawn_in(text) + END, BEGIN + draw() + END), encoding="utf-8")
