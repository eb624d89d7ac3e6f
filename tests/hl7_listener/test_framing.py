"""MLLP blocks: whatever way a stream is cut, the same messages come out, and none is glued from two (items 1, 2, 3 and 5)."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7_listener.framing import HEAD_BYTES, Decoder, Discarded, Frame, FramingEvent, Oversize, frame
from hl7_listener.refusal import MessageRefused

LIMIT = 1024 * 1024
MESSAGE = b"MSH|^~\\&|A\rPID|1\r"
PIECES = st.one_of(
    st.sampled_from(
        [b"\x0b", b"\x1c", b"\x1c\r", b"\x1c\n", b"\r", b"\n", b"\0", b" ", b"MSH|", MESSAGE, b"\xef\xbb\xbf"]
    ),
    st.binary(max_size=6),
)
STREAMS = st.lists(PIECES, max_size=20).map(b"".join)


def decoded(stream: bytes, *, limit: int = LIMIT, bare: bool = False) -> list[FramingEvent]:
    decoder = Decoder(limit, bare_messages=bare)
    return [*decoder.feed(stream), *decoder.end()]


def payloads(events: list[FramingEvent]) -> list[bytes]:
    return [event.payload for event in events if isinstance(event, Frame)]


@given(STREAMS, st.lists(st.integers(0, 200)), st.sampled_from([3, LIMIT]), st.booleans())
def test_any_chunking_of_a_stream_gives_the_same_events(stream: bytes, cuts: list[int], limit: int, bare: bool) -> None:
    decoder = Decoder(limit, bare_messages=bare)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunked = [event for start, stop in itertools.pairwise(edges) for event in decoder.feed(stream[start:stop])]

    assert [*chunked, *decoder.end()] == decoded(stream, limit=limit, bare=bare)


@given(STREAMS)
def test_a_stream_that_comes_byte_by_byte_gives_the_same_events(stream: bytes) -> None:
    """Bytes alone never take the short way for a block that is whole in one read."""
    decoder = Decoder(LIMIT, bare_messages=True)

    assert [*(e for byte in stream for e in decoder.feed(bytes([byte]))), *decoder.end()] == decoded(stream, bare=True)


@given(STREAMS)
def test_every_message_is_one_unbroken_stretch_of_the_stream(stream: bytes) -> None:
    found = payloads(decoded(stream))

    assert all(b"\x0b" + payload in stream for payload in found)
    assert not any(b"\x0b" in payload for payload in found)


@given(STREAMS)
def test_no_byte_but_those_of_the_framing_disappears_uncounted(stream: bytes) -> None:
    events = decoded(stream)

    counted = sum(
        len(event.payload) if isinstance(event, Frame) else event.count
        for event in events
        if not isinstance(event, Oversize)
    )
    framing_bytes = sum(stream.count(byte) for byte in (b"\x0b", b"\x1c", b"\r", b"\n"))
    assert len(stream) - framing_bytes <= counted <= len(stream)


@given(
    st.lists(st.binary().map(lambda b: b.translate(None, b"\x0b\x1c")), max_size=5),
    st.binary().map(lambda b: b.replace(b"\x0b", b"")),
)
def test_what_was_framed_comes_out_again_between_any_junk(messages: list[bytes], junk: bytes) -> None:
    stream = junk + junk.join(frame(message) for message in messages) + junk

    assert payloads(decoded(stream)) == messages


@pytest.mark.parametrize(
    ("stream", "expected", "tolerances"),
    [
        pytest.param(b"\x0b" + MESSAGE + b"\x1c\r", MESSAGE, (), id="as the standard has it"),
        pytest.param(b"\r\n\0 \x0b" + MESSAGE + b"\x1c\r", MESSAGE, ("blank-before-start",), id="blanks before"),
        pytest.param(b"GET /\x0b" + MESSAGE + b"\x1c\r", MESSAGE, ("junk-before-start",), id="junk before"),
        pytest.param(b"\x0b\x0b" + MESSAGE + b"\x1c\r\x1c\r", MESSAGE, ("doubled-start",), id="doubled framing"),
        pytest.param(b"\x0b" + MESSAGE + b"\x1c\n", MESSAGE, ("end-with-lf",), id="FS LF"),
        pytest.param(b"\x0b" + MESSAGE + b"\x1c", MESSAGE, ("end-without-cr",), id="FS, then the end of the stream"),
        pytest.param(b"\x0bA\x1cB\r\x1c\r", b"A\x1cB\r", (), id="FS inside"),
        pytest.param(b"\x0bA\r\x1c\x1c\r", b"A\r\x1c", ("no-last-cr",), id="FS FS CR"),
        pytest.param(b"\x0b\xef\xbb\xbfA\r\x1c\r", b"\xef\xbb\xbfA\r", ("byte-order-mark",), id="byte order mark"),
        pytest.param(b"\x0bA\nB\n\x1c\r", b"A\nB\n", ("lf-segments",), id="LF segments"),
        pytest.param(b"\x0bA\r\nB\r\n\x1c\r", b"A\r\nB\r\n", ("crlf-segments",), id="CR LF segments"),
        pytest.param(b"\x0bA\r\rB\r\x1c\r", b"A\r\rB\r", ("blank-segment",), id="blank segment"),
        pytest.param(b"\x0bA\x1c\r", b"A", ("no-last-cr",), id="no last CR"),
        pytest.param(b"\x0b\x1c\r", b"", ("no-last-cr",), id="empty block"),
    ],
)
def test_a_block_is_taken_and_what_was_tolerated_is_named(
    stream: bytes, expected: bytes, tolerances: tuple[str, ...]
) -> None:
    [found] = [event for event in decoded(stream) if isinstance(event, Frame)]

    assert found == Frame(expected, tolerances)


def test_an_fs_without_cr_ends_the_block_where_the_next_begins() -> None:
    assert payloads(decoded(b"\x0bA\r\x1c\x0bB\r\x1c\r")) == [b"A\r", b"B\r"]


def test_a_new_start_drops_the_unfinished_block() -> None:
    assert decoded(b"\x0bMSH|half\x0bB\r\x1c\r") == [Discarded("unfinished-block", 8), Frame(b"B\r")]


def test_half_a_message_before_the_end_of_the_stream_is_dropped() -> None:
    assert decoded(b"\x0bMSH|half") == [Discarded("unfinished-block", 8)]


def test_a_second_end_is_counted_as_such() -> None:
    assert decoded(frame(MESSAGE) + b"\x1c\r") == [Frame(MESSAGE), Discarded("doubled-end", 2)]


def test_text_without_a_start_is_counted_and_dropped() -> None:
    assert decoded(b"MSH|raw\r\x1c\r") == [Discarded("junk-before-start", 10)]


def test_of_an_oversize_message_the_head_is_kept() -> None:
    message = b"MSH|" + b"x" * 20_000

    assert decoded(frame(message) + frame(b"B\r"), limit=10_000) == [
        Oversize(message[:HEAD_BYTES], 20_004),
        Frame(b"B\r"),
    ]


def test_a_message_of_exactly_the_limit_is_taken() -> None:
    assert payloads(decoded(frame(b"x" * 100), limit=100)) == [b"x" * 100]


def test_a_message_of_one_byte_more_is_oversize() -> None:
    assert decoded(frame(b"x" * 101), limit=100) == [Oversize(b"x" * 101, 101)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(b"MSH|1\r\x1c\r", [Frame(b"MSH|1\r", ("no-start",))], id="at the beginning"),
        pytest.param(
            b"MSH|1\r\x1c\rMSH|2\r\x1c\r",
            [Frame(b"MSH|1\r", ("no-start",)), Frame(b"MSH|2\r", ("no-start",))],
            id="one behind another",
        ),
        pytest.param(
            b"\r\n\0MSH|1\r\x1c\r",
            [Discarded("blank-before-start", 3), Frame(b"MSH|1\r", ("blank-before-start", "no-start"))],
            id="after blanks",
        ),
        pytest.param(
            b"HELO\rMSH|1\r\x1c\r",
            [Discarded("junk-before-start", 5), Frame(b"MSH|1\r", ("junk-before-start", "no-start"))],
            id="after a line of junk",
        ),
        pytest.param(
            b"\x0bMSH|1\r\x1c\rMSH|2\r\x1c\r\x0bMSH|3\r\x1c\r",
            [Frame(b"MSH|1\r"), Frame(b"MSH|2\r", ("no-start",)), Frame(b"MSH|3\r")],
            id="among framed ones",
        ),
        pytest.param(b"xMSH|1\r\x1c\r", [Discarded("junk-before-start", 9)], id="not at the beginning of a line"),
        pytest.param(b"MSH|half", [Discarded("unfinished-block", 8)], id="without an end"),
        pytest.param(
            b"M\rMS\r\x0bMSH|1\r\x1c\r",
            [Discarded("junk-before-start", 5), Frame(b"MSH|1\r", ("junk-before-start",))],
            id="what only looks like a beginning",
        ),
    ],
)
def test_a_bare_message_is_taken_where_the_listener_takes_them(stream: bytes, expected: list[FramingEvent]) -> None:
    """Item 3: a message without VT."""
    assert decoded(stream, bare=True) == expected


def test_a_block_that_is_crowded_out_keeps_its_head_alone() -> None:
    """Item 5: what there is no memory for still names its MSH-10."""
    decoder = Decoder(LIMIT)
    decoder.feed(b"\x0bMSH|" + bytes(50_000))

    decoder.crowd_out()

    assert decoder.kept_bytes == HEAD_BYTES
    [event] = decoder.feed(bytes(50_000) + b"\x1c\r")
    assert event == Oversize(b"MSH|" + bytes(HEAD_BYTES - 4), 100_004, (), crowded_out=True)


def test_a_block_that_was_crowded_out_and_grows_too_long_all_the_same_is_simply_too_long() -> None:
    decoder = Decoder(100)
    decoder.feed(b"\x0bMSH|")
    decoder.crowd_out()

    [event] = decoder.feed(bytes(200) + b"\x1c\r")

    assert event == Oversize(b"MSH|" + bytes(200), 204, (), crowded_out=False)


def test_the_block_behind_one_that_was_crowded_out_is_taken_whole() -> None:
    decoder = Decoder(LIMIT)
    decoder.feed(b"\x0bMSH|")
    decoder.crowd_out()

    assert decoder.feed(b"\x1c\r" + frame(MESSAGE))[1:] == [Frame(MESSAGE)]


def test_memory_stays_bounded_while_an_oversize_message_streams_in() -> None:
    decoder = Decoder(1000)
    decoder.feed(b"\x0b")

    for _ in range(1000):
        decoder.feed(b"x" * 1000)

    [event] = decoder.feed(b"\x1c\r")
    assert isinstance(event, Oversize)
    assert (len(event.head), event.size) == (HEAD_BYTES, 1_000_000)


def test_a_long_message_in_small_reads_arrives_whole() -> None:
    """20 MB in reads of 512 bytes: with `bytes +=` this copies 400 GB and never ends."""
    stream = frame(b"MSH|" + bytes(20_000_000))
    decoder = Decoder(50_000_000)

    events = [event for at in range(0, len(stream), 512) for event in decoder.feed(stream[at : at + 512])]

    assert [len(payload) for payload in payloads(events)] == [20_000_004]


def test_the_decoder_says_whether_a_block_is_open() -> None:
    decoder = Decoder(LIMIT)

    states = [bool(decoder.feed(byte)) or decoder.is_open for byte in (b" ", b"\x0b", b"A", b"\x1c")]

    assert states == [False, True, True, True]


@pytest.mark.parametrize("byte", [b"\x0b", b"\x1c"])
def test_a_message_with_a_framing_byte_is_refused(byte: bytes) -> None:
    with pytest.raises(MessageRefused) as caught:
        frame(b"MSH|" + byte)

    assert caught.value.code == "mllp.control-byte"


def test_neither_a_frame_nor_its_head_shows_the_message() -> None:
    assert "CANARY" not in repr([Frame(b"CANARY"), Oversize(b"CANARY", 6)])
