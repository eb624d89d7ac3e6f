"""Which identifier a FHIR resource is found again by, where HL7 v2 names no authority that the site knows.

A resource out of a message must be the same resource when the message comes again, and never that of another authority: the same
number of two authorities is two patients. So an identifier without a system gets one of ours that holds what the sender said of it,
and a thing without a number (an allergy, a visit) one made of what it is.
"""

from dataclasses import dataclass
from functools import lru_cache

from mappings import code_system
from mappings.code_table import load
from mappings.fhir_elements import Json, name_uuid, percent_encoded
from mappings.order import Identifier


@dataclass(frozen=True, slots=True)
class Scope:
    """Where numbers come from that name no authority: the sending facility (MSH-4), else the application (MSH-3)."""

    sender: str

    def identified(self, identifier: Identifier, kind: str) -> Identifier:
        """The identifier with a system: the site's, else ours, made of `kind` and the authority as the sender names it.

        `kind` keeps apart what one authority counts separately: a placer's and a filler's number, a patient and a visit.
        """
        if identifier.system:
            return identifier
        system = self.system_of(kind, identifier.namespace or identifier.universal_id)
        return Identifier(identifier.value, system, identifier.type, identifier.namespace, identifier.universal_id)

    def system_of(self, kind: str, authority: str) -> str:
        """Our system for what an authority counts that the site has no rule for; the sender's own where it names none."""
        return _own_system(kind, authority or self.sender)


@lru_cache(maxsize=1024)
def _own_system(kind: str, authority: str) -> str:
    named = f":{percent_encoded(authority)}" if authority else ""
    return f"{code_system.OWN_HL7V2}:{kind}{named}"


def derived(kind: str, *parts: str) -> Identifier:
    """The identifier of a thing that has no number: a UUID version 5 of what it is. The same thing always gets the same one."""
    text = "|".join((kind, *(part.replace("|", "%7C") for part in parts)))
    return Identifier(name_uuid(text), system=f"{code_system.OWN_HL7V2}:{kind}")


def identifier_element(identifier: Identifier) -> Json:
    """A FHIR Identifier; its type is coded where table 0203 has the code (identifier_types.csv), else it stands as text."""
    element: Json = {}
    if identifier.type:
        known = load("identifier_types").target(identifier.type.upper(), code_system.IDENTIFIER_TYPE)
        coding = {"coding": [{"system": known.system, "code": known.code}]} if known else {"text": identifier.type}
        element["type"] = coding
    if identifier.system:
        element["system"] = identifier.system
    element["value"] = identifier.value
    return element
