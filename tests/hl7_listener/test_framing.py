"""MLLP blocks: whatever way a stream is cut, the same messages come out, and none is glued from two."""

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


def decoded(stream: bytes, *, limit: int = LIMIT) -> list[FramingEvent]:
    decoder = Decoder(limit)
    return [*decoder.feed(stream), *decoder.end()]


def payloads(events: list[FramingEvent]) -> list[bytes]:
    return [event.payload for event in events if isinstance(event, Frame)]


@given(STREAMS, st.lists(st.integers(0, 200)), st.sampled_from([3, LIMIT]))
def test_any_chunking_of_a_stream_gives_the_same_events(stream: bytes, cuts: list[int], limit: int) -> None:
    decoder = Decoder(limit)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunked = [event for start, stop in itertools.pairwise(edges) for event in decoder.feed(stream[start:stop])]

    assert [*chunked, *decoder.end()] == decoded(stream, limit=limit)


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
