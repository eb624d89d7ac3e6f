"""What `serve` and its door say to each other: one JSON object a line, over the door's standard input and output.

    to the door     {"settings": {...}}                      the first line
                    {"effect": 7, "outcome": {...}}          what became of a message whose sender waits for it
                    {"drain": 20}                            no new connections; answer what was read, then end
    from the door   {"ready": {"mllp": ["127.0.0.1", 2575]}} or {"failed": [code, where, explanation]}
                    {"committed": true, "waits": [7]}        there is something for intake; these wait for their effect
                    {"traffic": {"mllp": {...}}, "journal": true}

No line carries a message. Both sides may die or freeze at any time: an end of the stream ends the door at once, and a line that is
not read holds up nobody but the thread that writes it.
"""

import json
from dataclasses import asdict
from typing import IO, Any

from hl7_listener.outcome import OrderAnswer, Outcome

Line = dict[str, Any]
Address = tuple[str, int]


def write_line(stream: IO[bytes], line: Line) -> None:
    """Raises OSError where the other side is gone."""
    stream.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
    stream.flush()


def read_line(text: bytes) -> Line:
    """Raises ValueError where it is no object."""
    line = json.loads(text)
    if not isinstance(line, dict):
        raise ValueError("not an object")
    return line


def outcome_as_json(outcome: Outcome) -> Line:
    """ORC-2 and ORC-3 are bytes in the sender's character set: each becomes the letter of its number."""
    orders = [[each.control, each.placer.decode("latin-1"), each.filler.decode("latin-1")] for each in outcome.orders]
    return asdict(outcome) | {"orders": orders}


def outcome_from_json(values: Line) -> Outcome:
    """Raises what a line raises that `outcome_as_json` did not write: KeyError, TypeError, ValueError."""
    orders = tuple(
        OrderAnswer(control, placer.encode("latin-1"), filler.encode("latin-1"))
        for control, placer, filler in values["orders"]
    )
    return Outcome(**(values | {"orders": orders}))
