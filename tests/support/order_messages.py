"""HL7 v2 order messages written from an Order by string templates: the way back, for round trips. UTF-8, segments end in CR."""

from datetime import datetime

from mappings.code import Code
from mappings.order import Identifier, Order, OrderControl, Priority

CONTROLS = {OrderControl.NEW: "NW", OrderControl.CHANGE: "XO", OrderControl.CANCEL: "CA"}
SEXES = {"male": "M", "female": "F", "other": "O", "unknown": "U", "": ""}
PRIORITIES = {Priority.STAT: "S", Priority.ASAP: "A", Priority.URGENT: "T", Priority.ROUTINE: "R"}
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\"}


def orm(order: Order) -> bytes:
    """ORM^O01 as IHE RAD-4 has it in 2.3.1: accession in OBR-18, priority in ORC-7.6, study UID in ZDS."""
    timing = f"^^^^^{PRIORITIES[order.priority]}"
    obr = _fields(
        {1: "1", 4: _coded(order.procedure), 18: _entity(order.accession), 24: order.modality, 31: _reason(order)}
    )
    return _message(
        "ORM^O01", "2.3.1", order, timing, f"OBR{obr}", f"ZDS|{order.study_instance_uid}^^Application^DICOM"
    )


def omi(order: Order) -> bytes:
    """OMI^O23 in 2.5.1: priority in TQ1-9, accession, study UID and modality in IPC."""
    obr = _fields({1: "1", 4: _coded(order.procedure), 31: _reason(order)})
    ipc = _fields({1: _entity(order.accession), 3: order.study_instance_uid, 5: order.modality})
    timing = f"TQ1|1||||||||{PRIORITIES[order.priority]}"
    return _message("OMI^O23^OMI_O23", "2.5.1", order, "", timing, f"OBR{obr}", f"IPC{ipc}")


def _message(kind: str, version: str, order: Order, timing: str, *details: str) -> bytes:
    patient = order.patient
    birth_date = f"{patient.birth_date:%Y%m%d}" if patient.birth_date else ""
    identifiers = "~".join(_composite(identifier) for identifier in patient.identifiers)
    pid = _fields({3: identifiers, 5: "CANARY^ZEBRA", 7: birth_date, 8: SEXES[patient.sex]})
    numbers = {1: CONTROLS[order.control], 2: _entity(order.placer), 3: _entity(order.filler)}
    orc = _fields({**numbers, 7: timing, 9: _time(order.requested_at)})
    msh = f"MSH|^~\\&|RIS|HOSP|BRIDGE|AI|20261105101500||{kind}|M1|P|{version}||||||UNICODE UTF-8"
    return "\r".join([msh, f"PID{pid}", f"ORC{orc}", *details, ""]).encode()


def _fields(values: dict[int, str]) -> str:
    return "".join("|" + values.get(position, "") for position in range(1, max(values) + 1))


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def _entity(identifier: Identifier | None) -> str:
    if identifier is None:
        return ""
    return "^".join(map(_escaped, (identifier.value, identifier.namespace, identifier.universal_id)))


def _composite(identifier: Identifier) -> str:
    authority = "&".join(map(_escaped, (identifier.namespace, identifier.universal_id)))
    return f"{_escaped(identifier.value)}^^^{authority}^{_escaped(identifier.type)}"


def _coded(code: Code | None) -> str:
    system = {"http://loinc.org": "LN", "": "L"}[code.system] if code else ""
    return f"{_escaped(code.code)}^{_escaped(code.display)}^{system}" if code else ""


def _reason(order: Order) -> str:
    return f"^{_escaped(order.reason)}" if order.reason else ""


def _time(time: datetime | None) -> str:
    return f"{time:%Y%m%d%H%M%S%z}" if time else ""
