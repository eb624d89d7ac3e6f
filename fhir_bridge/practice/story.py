"""The stories that the practice hospital plays: who, which order, which film, and what happens in which order.

Everything about the patients is invented. The films are real (`samples/README.md`), the ages given to them are not theirs.
"""

import uuid
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

PATIENT_SYSTEM = "urn:oid:2.16.840.1.113883.19.5"  # below HL7's root for examples
PLACER_SYSTEM = "urn:oid:2.16.840.1.113883.19.6"
FILLER_SYSTEM = "urn:oid:2.16.840.1.113883.19.7"
PROCEDURE_SYSTEM = "urn:oid:2.16.840.1.113883.19.8"
STUDY_DATE = date(2026, 11, 2)
_UID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "practice.fhir-bridge.invalid")


def uid(name: str) -> str:
    """A UID under 2.25 (PS3.5 §B.2) that is the same whenever the demo is played."""
    return f"2.25.{uuid.uuid5(_UID_NAMESPACE, name).int}"


class Structure(StrEnum):
    """How the RIS words the order; also the name of hl7apy's structure."""

    ORM = "ORM_O01"  # v2.3.1 with ZDS, IHE RAD-4
    OMI = "OMI_O23"  # v2.5.1 with TQ1 and IPC
    OMG = "OMG_O19"  # v2.5.1, accession number in OBR-18, no Study Instance UID


class Step(StrEnum):
    """One thing that happens in the hospital."""

    SEND_NEW = "send-new"  # ORC-1 NW
    SEND_AGAIN = "send-again"  # the last message, byte for byte
    SEND_CANCEL = "send-cancel"  # ORC-1 CA
    SEND_GARBAGE = "send-garbage"
    PLACE = "place"  # a ServiceRequest on the FHIR server; its Subscription tells the bridge
    FILM = "film"  # the modality stores the film in the PACS
    AWAIT_IMAGES = "await-images"  # go on once the bridge's job waits for images


@dataclass(frozen=True, slots=True)
class Patient:
    """An invented patient. All of them bear the same name: nothing may ever be joined by it."""

    number: int
    birth_date: date = field(repr=False)
    sex: str = field(default="F", repr=False)  # PID-8
    known: bool = True  # to the FHIR server

    @property
    def mrn(self) -> str:
        return f"CANARY-{1000 + self.number}"


@dataclass(frozen=True, slots=True)
class Story:
    """One order from its first message to its end; `number` makes its identifiers."""

    name: str
    title: str
    number: int
    steps: tuple[Step, ...]
    birth_date: date = field(default=date(2023, 5, 17), repr=False)
    sex: str = field(default="F", repr=False)
    structure: Structure = Structure.ORM
    film: str = ""  # a file of samples/
    modality: str = "CR"
    known: bool = True

    @property
    def patient(self) -> Patient:
        return Patient(self.number, self.birth_date, self.sex, self.known)

    @property
    def placer(self) -> str:
        return f"CANARY-P{self.number:02d}"

    @property
    def filler(self) -> str:
        return f"CANARY-F{self.number:02d}"

    @property
    def accession(self) -> str:
        return f"CANARY-A{self.number:02d}"

    @property
    def arrives_again(self) -> bool:
        """Whether the order reaches the bridge more than once."""
        return sum(step in (Step.SEND_NEW, Step.SEND_AGAIN, Step.PLACE) for step in self.steps) > 1

    @property
    def study_instance_uid(self) -> str:
        return uid(self.name)


_S = Step

STORIES: tuple[Story, ...] = (
    Story(
        "pneumonia",
        "a child's film with pneumonia, ordered by ORM^O01",
        1,
        (_S.FILM, _S.SEND_NEW),
        film="person121_bacteria_575.jpeg",
    ),
    Story(
        "normal",
        "a child's normal film, ordered by OMI^O23",
        2,
        (_S.FILM, _S.SEND_NEW),
        structure=Structure.OMI,
        film="NORMAL2-IM-0120-0001.jpeg",
        birth_date=date(2022, 2, 8),
        sex="M",
        modality="DX",
    ),
    Story(
        "order-on-fhir-server",
        "an order placed on the FHIR server, told by its Subscription",
        3,
        (_S.FILM, _S.PLACE),
        film="person127_bacteria_602.jpeg",
        birth_date=date(2024, 9, 30),
    ),
    Story(
        "both-doors",
        "one order by HL7 v2 and by the FHIR server",
        4,
        (_S.PLACE, _S.SEND_NEW, _S.AWAIT_IMAGES, _S.FILM),
        film="person136_bacteria_649.jpeg",
        sex="M",
    ),
    Story(
        "sent-twice",
        "the same message twice",
        5,
        (_S.FILM, _S.SEND_NEW, _S.SEND_AGAIN),
        film="IM-0023-0001.jpeg",
        birth_date=date(2021, 12, 24),
    ),
    Story(
        "cancelled",
        "an order cancelled while it waits for images",
        6,
        (_S.SEND_NEW, _S.AWAIT_IMAGES, _S.SEND_CANCEL),
        sex="M",
    ),
    Story(
        "late-images",
        "images that come after the order",
        7,
        (_S.SEND_NEW, _S.AWAIT_IMAGES, _S.FILM),
        film="person144_bacteria_690.jpeg",
    ),
    Story(
        "adult",
        "an adult's film, which the model must refuse",
        8,
        (_S.FILM, _S.SEND_NEW),
        film="00001699_000.png",
        birth_date=date(1971, 7, 4),
    ),
    Story("garbage", "something that is not HL7", 9, (_S.SEND_GARBAGE,), known=False),
    Story(
        "unknown-patient",
        "a patient whom the FHIR server does not know",
        10,
        (_S.FILM, _S.SEND_NEW),
        film="NORMAL2-IM-0288-0001.jpeg",
        known=False,
    ),
    Story("cancel-first", "a cancel that overtakes its order", 11, (_S.SEND_CANCEL, _S.SEND_NEW), sex="M"),
    Story(
        "general-order",
        "an order by OMG^O19 that names no study",
        12,
        (_S.FILM, _S.SEND_NEW),
        structure=Structure.OMG,
        film="NORMAL2-IM-0282-0001.jpeg",
        birth_date=date(2022, 6, 1),
    ),
)
