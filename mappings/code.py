"""A coded value: FHIR `Coding`, HL7 v2 `CWE`, a DICOM code sequence item."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Code:
    """A code of a code system. `system` is a FHIR URI; empty for a local code of an unnamed system.

    `system_name` is how an HL7 v2 sender called the system (CE.3), to be echoed to it; two codes do not differ by it.
    """

    code: str
    system: str = ""
    display: str = ""
    system_name: str = field(default="", compare=False)
