"""A coded value: FHIR `Coding`, HL7 v2 `CWE`, a DICOM code sequence item."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A code of a code system. `system` is a FHIR URI; empty for a local code of an unnamed system."""

    code: str
    system: str = ""
    display: str = ""
