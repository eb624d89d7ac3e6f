from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from hl7_listener.message import Message
from mappings.hl7v2_datatypes import day, timestamp
from mappings.hl7v2_order import SenderPolicy, orders_from

BERLIN = ZoneInfo("Europe/Berlin")


# item 29
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260115", datetime(2026, 1, 14, 23, 0, tzinfo=UTC)),
        ("2026011508", datetime(2026, 1, 15, 7, 0, tzinfo=UTC)),
        ("202601150830", datetime(2026, 1, 15, 7, 30, tzinfo=UTC)),
        ("202607150830", datetime(2026, 7, 15, 6, 30, tzinfo=UTC)),
        ("20260115083001.1234", datetime(2026, 1, 15, 7, 30, 1, 123400, tzinfo=UTC)),
        ("20260115083001+0530", datetime(2026, 1, 15, 3, 0, 1, tzinfo=UTC)),
        ("20260115083001-0000", datetime(2026, 1, 15, 8, 30, 1, tzinfo=UTC)),
        ("202601152400", datetime(2026, 1, 15, 23, 0, tzinfo=UTC)),
        ("202610250230", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # the repeated hour: its first one
        ("202603290230", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),  # the skipped hour: the offset before it
    ],
)
def test_a_time_is_an_instant(text: str, expected: datetime) -> None:
    found = timestamp(text, BERLIN)

    assert found is not None
    assert found.astimezone(UTC) == expected


# item 29
@pytest.mark.parametrize(
    "text",
    [
        "",
        "00000000",
        "2026",
        "202601",
        "20260231",
        "14:5",
        "2026-01-15",
        "202601152460",
        "2026011525",
        "99991231240000",
    ],
)
def test_what_is_no_time_reads_as_none(text: str) -> None:
    assert timestamp(text, BERLIN) is None


def test_an_impossible_offset_is_not_used() -> None:
    found = timestamp("20260115083001+9900", BERLIN)

    assert found is not None
    assert found.utcoffset() == timedelta(hours=1)


# item 29
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20210704", date(2021, 7, 4)),
        ("202107041530", date(2021, 7, 4)),
        ("2021", None),
        ("00000000", None),
        ("x", None),
    ],
)
def test_a_day_is_a_whole_day_or_none(text: str, expected: date | None) -> None:
    assert day(text) == expected


# item 29
@pytest.mark.parametrize(
    ("msh_7", "orc_9", "offset"),
    [
        ("20260115080000+0300", "20260115075900", timedelta(hours=3)),  # MSH-7 speaks for the message
        ("20260115080000+0300", "20260115075900-0500", timedelta(hours=-5)),  # a time's own offset wins
        ("20260115080000", "20260115075900", timedelta(hours=1)),  # the sender's configured zone
    ],
)
def test_the_zone_of_a_time(msh_7: str, orc_9: str, offset: timedelta) -> None:
    text = f"MSH|^~\\&|R|H|B|A|{msh_7}||ORM^O01|1|P|2.5\rPID|||CANARY-1\rORC|NW|P1|||||||{orc_9}\r"

    (order,) = orders_from(Message(text.encode()), SenderPolicy(time_zone="Europe/Berlin"))

    assert order.requested_at == datetime(2026, 1, 15, 7, 59, tzinfo=timezone(offset))
