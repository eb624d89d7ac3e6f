"""The radiology information system of the practice hospital: imaging orders as HL7 v2 messages, built with hl7apy.

ORM^O01 v2.3.1 with ZDS as in IHE RAD-4; OMI^O23 v2.5.1 with TQ1 and IPC; OMG^O19 v2.5.1. Segments are added one by one, in their order:
hl7apy's own groups lose ZDS, and hl7apy knows neither ZDS nor IPC as a part of every structure.
"""

from datetime import datetime

from hl7apy.core import Message, Segment

from fhir_bridge.practice.story import Story, Structure

_VERSIONS = {Structure.ORM: "2.3.1", Structure.OMI: "2.5.1", Structure.OMG: "2.5.1"}
_STATUSES = {"NW": "SC", "CA": "CA"}  # ORC-5, table 0038
GARBAGE = b"\x00\xffthis is not HL7 and has no MSH\r"


def order_message(story: Story, control: str, control_id: str, at: datetime) -> bytes:
    """The story's order as a message with ORC-1 `control` (`NW`, `CA`) and MSH-10 `control_id`; ER7, CR after each segment."""
    version = _VERSIONS[story.structure]
    message = Message(story.structure, version=version)
    _header(message, story, control_id, at)
    for segment in _body(story, control, at, version):
        message.add(segment)
    return f"{message.to_er7()}\r".encode("ascii")


def _header(message: Message, story: Story, control_id: str, at: datetime) -> None:
    code, _, event = story.structure.partition("_")
    message.msh.msh_3 = "RIS"
    message.msh.msh_4 = "HOSP"
    message.msh.msh_5 = "FHIR-BRIDGE"
    message.msh.msh_6 = "HOSP"
    message.msh.msh_7 = _time(at)
    message.msh.msh_9 = f"{code}^{event}" if story.structure is Structure.ORM else f"{code}^{event}^{story.structure}"
    message.msh.msh_10 = control_id
    message.msh.msh_11 = "P"


def _body(story: Story, control: str, at: datetime, version: str) -> list[Segment]:
    segments = [_patient(story, version), _visit(version), _common_order(story, control, at, version)]
    if version != "2.3.1":
        segments.append(_timing(at, version))
    segments.append(_request(story, at, version))
    if story.structure is Structure.ORM:
        segments.append(_study(story, version))
    if story.structure is Structure.OMI:
        segments.append(_imaging_procedure(story, version))
    return segments


def _patient(story: Story, version: str) -> Segment:
    segment = Segment("PID", version=version)
    segment.pid_3 = f"{story.patient.mrn}^^^HOSP^MR"
    segment.pid_5 = "CANARY^ZEBRA"
    segment.pid_7 = f"{story.birth_date:%Y%m%d}"
    segment.pid_8 = story.sex
    return segment


def _visit(version: str) -> Segment:
    segment = Segment("PV1", version=version)
    segment.pv1_2 = "O"
    return segment


def _common_order(story: Story, control: str, at: datetime, version: str) -> Segment:
    segment = Segment("ORC", version=version)
    segment.orc_1 = control
    segment.orc_2 = f"{story.placer}^CPOE"
    segment.orc_3 = f"{story.filler}^RIS"
    segment.orc_5 = _STATUSES[control]
    if version == "2.3.1":
        segment.orc_7 = f"^^^{_time(at)}^^R"
    segment.orc_9 = _time(at)
    return segment


def _timing(at: datetime, version: str) -> Segment:
    segment = Segment("TQ1", version=version)
    segment.tq1_1 = "1"
    segment.tq1_7 = _time(at)
    segment.tq1_9 = "R"
    return segment


def _request(story: Story, at: datetime, version: str) -> Segment:
    segment = Segment("OBR", version=version)
    segment.obr_1 = "1"
    segment.obr_2 = f"{story.placer}^CPOE"
    segment.obr_3 = f"{story.filler}^RIS"
    segment.obr_4 = "XRCHEST1^Chest radiograph, single view^RISPROC"
    segment.obr_18 = story.accession
    segment.obr_19 = f"CANARY-R{story.number:02d}"
    segment.obr_20 = f"CANARY-S{story.number:02d}"
    segment.obr_24 = story.modality
    segment.obr_31 = "^Cough and fever"
    return segment


def _study(story: Story, version: str) -> Segment:
    segment = Segment("ZDS", version=version)
    segment.zds_1 = f"{story.study_instance_uid}^^Application^DICOM"
    return segment


def _imaging_procedure(story: Story, version: str) -> Segment:
    segment = Segment("IPC", version=version)
    segment.ipc_1 = story.accession
    segment.ipc_2 = f"CANARY-R{story.number:02d}"
    segment.ipc_3 = story.study_instance_uid
    segment.ipc_4 = f"CANARY-S{story.number:02d}"
    segment.ipc_5 = story.modality
    return segment


def _time(at: datetime) -> str:
    """HL7 v2 TS with its zone."""
    return f"{at:%Y%m%d%H%M%S%z}"
