"""A DICOM image rewritten by the allow-list of its SOP Class (PS3.15 Annex E, profile of `POLICY`).

Raises Refused `deid.dicom-unreadable`, `deid.transfer-syntax-unsupported`, `deid.sop-class-unsupported`,
`deid.burned-in-annotation`, `deid.pixels-unverified`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.uid import UID_dictionary

from fhir_bridge.deid.allow_list import Path, Rule, allow_list
from fhir_bridge.deid.elements import (
    PIXEL_DATA,
    Element,
    Encoding,
    Part10,
    name_of,
    read_file,
    unreadable,
    write_element,
    write_file,
    write_items,
)
from fhir_bridge.deid.gates import GATES, binary_numbers, code_meaning, codes, is_binary, plain_text, valid_uid
from fhir_bridge.deid.pixels import check_pixels, write_pixels
from fhir_bridge.deid.subject import Subject
from fhir_bridge.errors import Refused

POLICY = "basic, clean descriptors, modified dates, patient characteristics; CR and DX"
_OPTIONS = ("113100", "113105", "113107", "113108")  # PS3.16 CID 7050, the options of POLICY
_METHOD = "fhir-bridge allow-list; PS3.15 2026c Basic"
_IMPLEMENTATION = ("2.25.201884925339113735190386517430428562901", "FHIR_BRIDGE")
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_LUT_DESCRIPTOR = 0x00283002
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_NOT_IMAGES = (
    "9.",
    "11.",
    "66",
    "88.",
    "104.",
    "481.3",
    "481.5",
)  # waveforms, PR, SEG and raw, SR and KO, documents, RT
_KNOWN_CHANGES = {
    "date": "shifted",
    "datetime": "shifted",
    "text": "cleaned",
    "body-part": "cleaned",
    "vendor": "cleaned",
    "age": "replaced",
}
Part = bytes | memoryview


@dataclass(frozen=True, slots=True)
class RewrittenInstance:
    """The de-identified file and what was done: (attribute path, action) -> how often."""

    sop_instance_uid: str  # pseudonym
    content: bytes = field(repr=False)
    actions: Counter[tuple[str, str]]


def sop_class_of(file: Part10) -> str:
    """The SOP Class UID of the data set."""
    return uid_in(file.elements, _SOP_CLASS)


def sop_class_name(sop_class: str) -> str:
    """The standard's name, or `private`: an unregistered UID may itself identify."""
    return UID_dictionary[sop_class][0] if sop_class in UID_dictionary else "private"


def is_image(sop_class: str) -> bool:
    """False for the objects that lie beside the images of a study: presentation states, reports, segmentations, documents."""
    return not any(sop_class.startswith(_STORAGE + prefix) for prefix in _NOT_IMAGES)


def uid_in(elements: Mapping[int, Element], tag: int) -> str:
    """A UID that must be there. Raises Refused `deid.dicom-unreadable`."""
    text = plain_text(elements[tag]) if tag in elements else None
    if text is None or not valid_uid(text):
        raise unreadable(tag)
    return text


def rewrite(content: bytes, subject: Subject) -> RewrittenInstance:
    """The image without identity. Pixel bytes and transfer syntax stay as they are (a deflated data set is inflated)."""
    file = read_file(content)
    sop_class = sop_class_of(file)
    rules = allow_list(sop_class)
    if rules is None:
        raise Refused("deid.sop-class-unsupported", sop_class_name(sop_class), "no allow-list for this SOP Class")
    check_pixels(file.elements)
    sop_instance = subject.uid(uid_in(file.elements, _SOP_INSTANCE), "instance")
    writer = _Writer(rules, subject, file.encoding)
    data_set = writer.data_set(file.elements)
    rewritten = write_file(file.transfer_syntax, sop_class, sop_instance, _IMPLEMENTATION, data_set)
    return RewrittenInstance(sop_instance, rewritten, writer.actions)


class _Writer:
    """Walks a data set by the rules; counts what it does."""

    def __init__(self, rules: Mapping[Path, Rule], subject: Subject, encoding: Encoding) -> None:
        self._rules = rules
        self._subject = subject
        self._encoding = encoding
        self.actions: Counter[tuple[str, str]] = Counter()

    def data_set(self, elements: Mapping[int, Element]) -> list[Part]:
        """The allowed elements in the order of their tags, with the marks of de-identification among them."""
        parts = self._allowed(elements, ())
        parts[PIXEL_DATA] = write_pixels(elements, self._encoding)
        parts.update(self._marks())
        return [part for tag in sorted(parts) for part in parts[tag]]

    def _allowed(self, elements: Mapping[int, Element], above: Path) -> dict[int, list[Part]]:
        kept: dict[int, list[Part]] = {}
        for tag, element in elements.items():
            path = (*above, tag)
            rule = self._rules.get(path)
            action = "removed"
            if rule is not None and rule.gate == "pixels":
                action = "kept"
            elif rule is not None:
                vr, value = self._through_gate(element, rule, path, elements)
                action = self._action(rule, element, value)
                was_empty = not element.value and rule.gate not in ("items", "code")  # Type 2: present, and nobody's
                if value is not None or rule.empty_otherwise or was_empty:
                    kept[tag] = write_element(tag, vr, value or b"", self._encoding)
            self.actions[">".join(name_of(step) for step in path), action] += 1
        return kept

    def _through_gate(
        self, element: Element, rule: Rule, path: Path, siblings: Mapping[int, Element]
    ) -> tuple[str, bytes | None]:
        vr = rule.vrs[0] if len(rule.vrs) == 1 else element.vr if element.vr in rule.vrs else rule.vrs[0]
        if rule.gate in ("items", "code"):
            return "SQ", self._sequence(element, rule, path)
        if rule.gate == "lut-data":
            return "OW", self._lut_data(element, siblings.get(_LUT_DESCRIPTOR))
        if is_binary(vr):
            return vr, binary_numbers(element, rule, vr) if self._same_order(element) else None
        text = plain_text(element)
        value = GATES[rule.gate](text, rule, self._subject) if text is not None else None
        return vr, value.encode("ascii") if value else None

    def _sequence(self, element: Element, rule: Rule, path: Path) -> bytes | None:
        if element.vr not in ("SQ", "UN", ""):
            return None
        if rule.gate == "code":
            return codes(element, self._encoding)
        items = [self._allowed(item, path) for item in element.items()]
        written = [b"".join(part for tag in sorted(item) for part in item[tag]) for item in items]
        return write_items(written, self._encoding) if any(written) else None

    def _same_order(self, element: Element) -> bool:
        return element.encoding.little == self._encoding.little

    def _lut_data(self, element: Element, descriptor: Element | None) -> bytes | None:
        """PS3.3 §C.11.1.1.1: as many entries as the descriptor says, of one byte or two, and not a byte more."""
        if descriptor is None or len(descriptor.value) != 6 or not self._same_order(element):
            return None
        entries = int.from_bytes(descriptor.value[:2], "little" if self._encoding.little else "big") or 1 << 16
        return bytes(element.value) if len(element.value) in (2 * entries, entries + entries % 2) else None

    def _action(self, rule: Rule, element: Element, value: bytes | None) -> str:
        if value is None:
            return "emptied" if rule.empty_otherwise else "removed"
        if rule.gate in _KNOWN_CHANGES:
            return _KNOWN_CHANGES[rule.gate]
        unchanged = value.strip(b" \0") == bytes(element.value).strip(b" \0") or rule.gate in ("items", "code")
        return "kept" if unchanged else "replaced"

    def _marks(self) -> dict[int, list[Part]]:
        """PS3.15 §E.2 and PS3.3 §C.7.1.1, §C.12.1: that, how and with which options the data set was de-identified."""
        marks: dict[int, list[Part]] = {}
        for tag, vr, text in (
            (0x00120062, "CS", "YES"),
            (0x00120063, "LO", _METHOD),
            (0x00280303, "CS", "MODIFIED"),
        ):
            marks[tag] = list(write_element(tag, vr, text.encode("ascii"), self._encoding))
        items = [self._option(code) for code in _OPTIONS]
        marks[0x00120064] = list(write_element(0x00120064, "SQ", write_items(items, self._encoding), self._encoding))
        if self._subject.age is not None:
            age = self._subject.age.age_string.encode("ascii")
            marks[0x00101010] = list(write_element(0x00101010, "AS", age, self._encoding))
        for tag in marks:
            self.actions[name_of(tag), "added"] += 1
        return marks

    def _option(self, code: str) -> bytes:
        triplet = (
            (0x00080100, "SH", code),
            (0x00080102, "SH", "DCM"),
            (0x00080104, "LO", code_meaning(code, "DCM") or ""),
        )
        parts = [write_element(tag, vr, text.encode("ascii"), self._encoding) for tag, vr, text in triplet]
        return b"".join(part for element in parts for part in element)
