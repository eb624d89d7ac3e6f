"""A segment with its place, as the mappings read it: nothing is missing twice, and a null is not a value."""

import pytest

from hl7_listener.message import Message
from mappings.hl7v2_groups import Located, groups_of, located
from mappings.refusal import MappingRefused

HEADER = b"MSH|^~\\&|RIS|HOSP|||20260115||ORM^O01|CANARY-M|P|2.5.1\r"


def pid(line: str) -> Located:
    return located(Message(HEADER + line.encode() + b"\r"))[1]


@pytest.mark.parametrize(
    ("repetition", "expected"),
    [(1, ["a", "", "c", ""]), (2, ["", "d&e", "", ""]), (3, [""] * 4)],
)
def test_components_are_read_together(repetition: int, expected: list[str]) -> None:
    assert pid('PID||| a^""^c~^d\\T\\e&f').texts(3, 4, repetition) == expected


@pytest.mark.parametrize(("position", "count"), [(1, 0), (2, 1), (3, 2), (99, 0)])
def test_repetitions_of_a_field_are_counted(position: int, count: int) -> None:
    assert pid("PID||a|b~c").repetitions(position) == count


@pytest.mark.parametrize(
    ("component", "subcomponent", "repetition", "expected"),
    [(1, 1, 1, "a"), (2, 1, 1, "b"), (2, 2, 1, "c"), (3, 1, 1, ""), (1, 1, 2, ""), (1, 1, 3, "")],
)
def test_a_text_is_empty_where_there_is_none(component: int, subcomponent: int, repetition: int, expected: str) -> None:
    assert pid('PID|||a^b& c ^""~""').text(3, component, subcomponent, repetition) == expected


def test_a_null_is_no_key() -> None:
    with pytest.raises(MappingRefused) as refused:
        pid('PID|||CANARY-1~ "" ').key(3, repetition=2)

    assert (refused.value.code, refused.value.where) == ("order.key-deleted", "PID^1^3")


def test_segments_of_a_group_are_found_by_their_names() -> None:
    segments = b"PID|1||CANARY-1\rORC|NW|P1\rOBR|1\rNTE|1||x\rZDS|1.2\rNTE|2||y\r"

    (group,) = groups_of(Message(HEADER + segments))

    assert [note.sequence for note in group.named("NTE")] == [1, 2]
    assert (group.named("OBR"), group.named("ORC"), len(group.named("IPC"))) == ([group.obr], [group.orc], 0)
