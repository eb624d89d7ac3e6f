"""One patient on the way across: pseudonyms, date shift, age, and the list of what was replaced by what."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from fhir_bridge.deid.pseudonym import ProjectKeys

_OLDEST_SHOWN = 90  # 45 CFR 164.514(b)(2)(i)(C): ages over 89 become one category
_OLDEST_PLAUSIBLE = 130
_AGE_STRING = re.compile(r"([0-9]{1,3})([DWMY]?)")
_MONTHS_PER_UNIT = {"D": 12 / 365.25, "W": 84 / 365.25, "M": 1.0, "Y": 12.0, "": 12.0}


@dataclass(frozen=True, slots=True)
class Age:
    """An age as coarse as PatientAge is written: whole months below two years, whole years from there, 90 for all above 89."""

    months: int

    @property
    def years(self) -> float:
        return self.months / 12 if self.months < 24 else float(min(self.months // 12, _OLDEST_SHOWN))

    @property
    def age_string(self) -> str:
        """PS3.5 §6.2, AS."""
        return f"{self.months:03d}M" if self.months < 24 else f"{int(self.years):03d}Y"


def age_between(birth: date, day: date) -> Age | None:
    """The age on a day; None where the dates contradict each other or life."""
    months = (day.year - birth.year) * 12 + day.month - birth.month - (day.day < birth.day)
    return Age(months) if birth <= day and months < _OLDEST_PLAUSIBLE * 12 else None


def age_from_string(text: str) -> Age | None:
    """An AS value, also without its unit (years), as some senders write it."""
    match = _AGE_STRING.fullmatch(text)
    if match is None:
        return None
    months = int(int(match[1]) * _MONTHS_PER_UNIT[match[2]])
    return Age(months) if months < _OLDEST_PLAUSIBLE * 12 else None


@dataclass(frozen=True, slots=True)
class Mapped:
    """One replacement, for the vault. `kind`: study, series, instance, uid, patient, accession, study-id, fhir."""

    kind: str
    pseudonym: str
    original: str


class Subject:
    """The patient of one crossing. `identity` is what keeps the patient's pseudonyms and shift the same everywhere."""

    def __init__(self, keys: ProjectKeys, identity: str, age: Age | None, identifying: Iterable[str]) -> None:
        self.keys = keys
        self.age = age
        self.pseudonym = keys.pseudonym("patient", identity)
        self.shift = keys.shift(identity)
        self.identifying = frozenset(word.upper() for word in identifying)
        self._mapped: dict[str, Mapped] = {self.pseudonym: Mapped("patient", self.pseudonym, identity)}

    def __repr__(self) -> str:
        return f"Subject({self.pseudonym!r})"

    def uid(self, original: str, kind: str = "uid") -> str:
        """The pseudonym of a UID. Its kind is the most telling one it was met with."""
        pseudonym = self.keys.uid(original)
        known = self._mapped.get(pseudonym)
        if known is None or known.kind == "uid":
            self._mapped[pseudonym] = Mapped(kind, pseudonym, original)
        return pseudonym

    def identifier(self, kind: str, original: str) -> str:
        """The pseudonym of an accession number, a Study ID, a resource id."""
        pseudonym = self.keys.pseudonym(kind, original)
        self._mapped[pseudonym] = Mapped(kind, pseudonym, original)
        return pseudonym

    @property
    def mapped(self) -> tuple[Mapped, ...]:
        """Everything replaced so far, ordered by pseudonym."""
        return tuple(self._mapped[pseudonym] for pseudonym in sorted(self._mapped))
