"""Assigning authorities: which FHIR identifier system an HL7 v2 `HD` (namespace, universal id) stands for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from mappings.order import Identifier

_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")


@dataclass(frozen=True, slots=True)
class Authority:
    """A site's rule for one authority. `name` is HD.1, `oid` HD.2 (type ISO), `system` the FHIR identifier system."""

    name: str
    oid: str = ""
    system: str = ""

    @property
    def identifier_system(self) -> str:
        """`system`, else `urn:oid:` and the OID, else empty."""
        return self.system or (f"urn:oid:{self.oid}" if self.oid else "")


class Authorities:
    """The rules of a site (DESIGN §4a). Raises ValueError where two rules claim one name or one OID."""

    __slots__ = ("_by_name", "_by_oid", "_systems")

    def __init__(self, rules: Iterable[Authority] = ()) -> None:
        self._by_name: dict[str, Authority] = {}
        self._by_oid: dict[str, Authority] = {}
        for rule in rules:
            if rule.name in self._by_name or (rule.oid and rule.oid in self._by_oid):
                raise ValueError(f"authority {rule.name}: another rule has this name or this OID")
            self._by_name[rule.name] = rule
            if rule.oid:
                self._by_oid[rule.oid] = rule
        self._systems = frozenset(rule.identifier_system for rule in self._by_name.values()) - {""}

    def rule_for(self, identifier: Identifier) -> Authority | None:
        """The rule of this identifier's authority: by OID first, then by namespace.

        A namespace rule with an OID does not answer for an identifier that bears another OID: the same number of two
        authorities is two patients.
        """
        return self._rule(identifier.namespace, identifier.universal_id)

    def _rule(self, namespace: str, universal_id: str) -> Authority | None:
        if rule := self._by_oid.get(universal_id):
            return rule
        rule = self._by_name.get(namespace)
        if rule and rule.oid and _is_oid(universal_id):
            return None
        return rule

    def resolve(self, identifier: Identifier) -> Identifier:
        """The identifier with its `system`; unchanged where it has one already, or where nothing is known of its authority."""
        if identifier.system:
            return identifier
        system = self.system_for(identifier.namespace, identifier.universal_id)
        return replace(identifier, system=system) if system else identifier

    def system_for(self, namespace: str, universal_id: str) -> str:
        """The identifier system of what an HD names; empty where nothing is known of it."""
        rule = self._rule(namespace, universal_id)
        system = rule.identifier_system if rule else ""
        return system or (f"urn:oid:{universal_id}" if universal_id and _is_oid(universal_id) else "")

    def rule_of_system(self, system: str) -> Authority | None:
        """The first rule that names this identifier system: how to write the authority for a receiver of HL7 v2."""
        rules = self._by_name.values()
        return next((rule for rule in rules if system and rule.identifier_system == system), None)

    def knows(self, system: str) -> bool:
        """Whether a rule names this identifier system."""
        return system in self._systems

    def system_of(self, name: str) -> str:
        """The identifier system of the authority of this name; empty where there is no rule."""
        rule = self._by_name.get(name)
        return rule.identifier_system if rule else ""


def _is_oid(text: str) -> bool:
    return _OID.fullmatch(text) is not None
