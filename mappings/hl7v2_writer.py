"""Writes HL7 v2 messages (ER7, HL7 v2.5.1 §2.5-2.7) segment by segment: escapes, time, the usual data types, the character set.

Not by hl7apy 1.3.5: in v2.8 it writes OBR-18 and what follows two fields too early, and the `~` between repetitions as `\\R\\`. It checks what
is written here, in the tests.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, tzinfo

from mappings.authority import Authorities
from mappings.code import Code
from mappings.code_system import FHIR_URI
from mappings.code_table import load
from mappings.order import Identifier
from mappings.refusal import MappingRefused

ENCODING_CHARACTERS = "^~\\&"
CODECS = {"ASCII": "ascii", "UNICODE UTF-8": "utf-8", "8859/1": "iso8859-1"}
"""MSH-18 (table 0211) and the Python codec."""

_ESCAPES = {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")  # a line break ends a segment, VT and FS the block
_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_SIMILAR = {"≥": ">=", "≤": "<=", "–": "-", "—": "-", "’": "'", "“": '"', "”": '"', "×": "x"}


class Er7Writer:
    """The parts of messages for one receiver. What a method returns stands in a field as it is, already escaped.

    `charset` is a key of `CODECS`. Words that it cannot hold are written alike (ö as o, else `?`); identifiers and codes never are:
    with them `encode` refuses.
    """

    def __init__(self, version: str, charset: str, authorities: Authorities, zone: tzinfo) -> None:
        self.version = version
        self._codec = CODECS[charset]
        self._authorities = authorities
        self._zone = zone

    def at_least(self, version: str) -> bool:
        """Whether the receiver's version is this one or later."""
        return _numbers(self.version) >= _numbers(version)

    def exact(self, value: str) -> str:
        """An identifier or a code: ST, escaped."""
        return escape(value)

    def words(self, text: str) -> str:
        """Text for people: ST, TX."""
        return escape("".join(map(self._written_alike, text)))

    def time(self, at: datetime) -> str:
        """TS, DTM (§2.A.22) to the second, in the receiver's zone and with its offset."""
        return f"{at.astimezone(self._zone):%Y%m%d%H%M%S%z}"

    def coded(self, code: Code) -> str:
        """CE, CWE (§2.A.11): code ^ text ^ name of the coding system (table 0396)."""
        parts = (
            self.exact(code.code),
            self.words(code.display),
            self.exact(self._system_name(code)) if code.code else "",
        )
        return "^".join(parts).rstrip("^")

    def entity(self, identifier: Identifier | None) -> str:
        """EI (§2.A.28): id ^ namespace ^ universal id ^ type; empty where there is none."""
        if identifier is None:
            return ""
        return "^".join((self.exact(identifier.value), *self._authority(identifier))).rstrip("^")

    def composite(self, identifier: Identifier) -> str:
        """CX (§2.A.14): id ^^^ authority ^ type. From v2.7 on the type is required: `U`, unspecified, where nobody gave one."""
        kind = identifier.type or ("U" if self.at_least("2.7") else "")
        authority = "&".join(self._authority(identifier)).rstrip("&")
        return "^".join((self.exact(identifier.value), "", "", authority, self.exact(kind))).rstrip("^")

    def encode(self, segments: str) -> bytes:
        """The bytes. Raises MappingRefused `report.not-encodable`."""
        try:
            return segments.encode(self._codec)
        except UnicodeEncodeError:
            where, why = "MSH-18", "an identifier or code has a character that the receiver's character set lacks"
            raise MappingRefused("report.not-encodable", where, why) from None

    def _written_alike(self, character: str) -> str:
        for candidate in (character, _SIMILAR.get(character, ""), unicodedata.normalize("NFKD", character)[:1]):
            if candidate and _fits(candidate, self._codec):
                return candidate
        return "?"

    def _system_name(self, code: Code) -> str:
        """As the sender wrote it; else by table or by the site's authorities; `L`, a local code, where nobody knows."""
        if code.system_name:
            return code.system_name
        known = load("coding_system_names").target(code.system, FHIR_URI)
        rule = self._authorities.rule_of_system(code.system)
        return known.code if known else rule.name if rule else "L"

    def _authority(self, identifier: Identifier) -> tuple[str, str, str]:
        """HD: namespace, universal id and its type, as the sender gave them; else what the site or the FHIR system says of them."""
        namespace, universal_id = identifier.namespace, identifier.universal_id
        if not (namespace or universal_id) and identifier.system:
            rule = self._authorities.rule_of_system(identifier.system)
            namespace = rule.name if rule else ""
            universal_id = rule.oid if rule else re.sub("^urn:(oid|uuid):", "", identifier.system)
        return self.exact(namespace), self.exact(universal_id), _universal_id_type(universal_id)


def segment(name: str, fields: Mapping[int, str]) -> str:
    """One segment with its CR; fields by their number in the standard, empty ones left out at its end."""
    filled = [number for number, value in fields.items() if value]
    values = (fields.get(number, "") for number in range(1, max(filled, default=0) + 1))
    return "|".join((name, *values)) + "\r"


def header(fields: Mapping[int, str]) -> str:
    """MSH: as `segment`, from MSH-3 on."""
    shifted = {number - 1: value for number, value in fields.items()}  # MSH-1 is the separator itself
    return segment("MSH", {1: ENCODING_CHARACTERS, **shifted})


def escape(text: str) -> str:
    """Text that may stand in a field (§2.7); control characters become blanks."""
    return "".join(_ESCAPES.get(character, character) for character in _CONTROL.sub(" ", text))


def _universal_id_type(universal_id: str) -> str:
    """Table 0301. Senders give it, but it is no part of an Identifier: its form shows it."""
    if not universal_id:
        return ""
    if _OID.fullmatch(universal_id):
        return "ISO"
    if _UUID.fullmatch(universal_id):
        return "UUID"
    return "URI" if ":" in universal_id else "DNS" if "." in universal_id else "L"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _fits(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
