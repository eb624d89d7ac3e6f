"""Which element of an order came from which field, for the message inspector and for whoever asks why."""


class Trace:
    """Lines (element, source), free of values: `("accession", "OBR^1^18")`."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []

    def note(self, element: str, source: str) -> None:
        self._lines.append((element, source))

    def lines(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._lines)
