"""Which element of an order came from which field, for the message inspector and for whoever asks why."""


class Trace:
    """Lines (element, source), free of values: `("accession", "OBR^1^18")`. One that is not wanted stays empty."""

    __slots__ = ("_lines", "wanted")

    def __init__(self, *, wanted: bool = True) -> None:
        self._lines: list[tuple[str, str]] = []
        self.wanted = wanted

    def note(self, element: str, source: str) -> None:
        if self.wanted:
            self._lines.append((element, source))

    def lines(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._lines)
