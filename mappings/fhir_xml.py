"""FHIR XML (R4 §2.6.1) as its JSON would read, no deeper than a notification goes."""

from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

_FHIR = "{http://hl7.org/fhir}"
_DEEPEST = 12  # Bundle.entry.resource.Parameters.parameter.part.valueReference.reference.value is 9
UNREADABLE = (ParseError, DefusedXmlException, ValueError, LookupError)


def parse(body: bytes) -> dict[str, Any]:
    """The resource; what repeats is a list, what stands alone is not. Raises one of `UNREADABLE`: no XML, a DTD, an entity, a charset
    that nobody knows."""
    parser = DefusedXMLParser(target=_Builder(), forbid_dtd=True)
    parser.feed(body)
    root: dict[str, Any] = parser.close()
    return root


class _Builder:
    """The target of the parser (`xml.etree.ElementTree.TreeBuilder`): keeps what the JSON has, and that only near the root."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str | None, dict[str, Any]]] = []  # name, value of a primitive, what is inside
        self._skipped = 0  # elements open inside one that is left out
        self._root: dict[str, Any] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if self._skipped or not tag.startswith(_FHIR) or len(self._open) == _DEEPEST:
            self._skipped += 1
            return
        self._open.append((tag.removeprefix(_FHIR), attributes.get("value"), {}))

    def end(self, _tag: str) -> None:
        """An element ends."""
        if self._skipped:
            self._skipped -= 1
            return
        name, value, node = self._open.pop()
        if not self._open:
            self._root = node | {"resourceType": name}
        elif name[0].isupper():  # a resource inside `resource` or `contained`
            self._open[-1][2].update(node | {"resourceType": name})
        else:
            _add(self._open[-1][2], name, node if value is None else value)

    def data(self, _text: str) -> None:
        """FHIR has its values in attributes; text is narrative."""

    def close(self) -> dict[str, Any]:
        """The document is over."""
        return self._root


def _add(parent: dict[str, Any], name: str, value: Any) -> None:
    known = parent.get(name)
    if known is None:
        parent[name] = value
    elif isinstance(known, list):
        known.append(value)
    else:
        parent[name] = [known, value]
