"""RFC 2046 §5.1.1, sans-I/O."""

import tracemalloc
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.adapters.multipart_stream import BrokenMultipart, TruncatedMultipart, boundary_of, parts

BOUNDARY = b"frontier"


def a_body(contents: list[bytes], *, declare: bool = True, preamble: bytes = b"", epilogue: bytes = b"\r\n") -> bytes:
    body = preamble
    for content in contents:
        length = b"Content-Length: %d\r\n" % len(content) if declare else b""
        body += b"\r\n--frontier\r\nContent-Type: application/dicom\r\n" + length + b"\r\n" + content
    return body + b"\r\n--frontier--" + epilogue


def read(body: bytes, size: int = 7) -> list[bytes]:
    chunks = (body[start : start + size] for start in range(0, len(body), size))
    return [bytes(part) for part in parts(chunks, BOUNDARY, max_part_bytes=1000)]


CONTENTS = st.lists(st.binary(max_size=60).filter(lambda content: b"--frontier" not in content), max_size=5)


@given(CONTENTS, st.booleans(), st.data())
def test_any_chunking_gives_the_same_parts(contents: list[bytes], declare: bool, data: st.DataObject) -> None:
    body = a_body(contents, declare=declare)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    chunks = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert [bytes(part) for part in parts(chunks, BOUNDARY)] == contents


@given(CONTENTS, st.data())
def test_a_body_cut_anywhere_is_truncated(contents: list[bytes], data: st.DataObject) -> None:
    body = a_body(contents, declare=False, epilogue=b"")
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(TruncatedMultipart):
        list(parts([body[:cut]], BOUNDARY))


def test_a_delimiter_may_be_padded_and_preceded_by_a_preamble() -> None:
    body = a_body([b"one", b"two"], preamble=b"for old readers").replace(b"--frontier\r\n", b"--frontier \t\r\n")
    assert read(body) == [b"one", b"two"]


def test_a_part_may_have_no_header() -> None:
    assert read(b"--frontier\r\n\r\none\r\n--frontier--") == [b"one"]


def test_what_follows_the_closing_delimiter_is_ignored() -> None:
    assert read(a_body([b"one"], epilogue=b"\r\n--frontier\r\n\r\ntwo")) == [b"one"]


def test_a_part_shorter_than_its_content_length_is_truncated() -> None:
    with pytest.raises(TruncatedMultipart):
        read(a_body([b"one"]).replace(b"Content-Length: 3", b"Content-Length: 4"))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(a_body([b"x" * 20_000]), id="part over the limit"),
        pytest.param(b"x" * 20_000, id="no delimiter at all"),
        pytest.param(b"--frontier\r\nX: 1\r\n--frontier--", id="header without an end"),
        pytest.param(a_body([b"one\r\n--frontierland"]), id="delimiter inside a part"),
    ],
)
def test_a_body_that_is_not_multipart_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenMultipart):
        read(body, size=1000)


@pytest.mark.parametrize("quoted", [True, False])
def test_the_boundary_is_read_as_the_mail_parser_of_python_reads_it(quoted: bool) -> None:
    value = 'multipart/related; type="application/dicom"; boundary=' + ('"a b:c"' if quoted else "ab-c+_.1")
    message = EmailMessage()
    message["Content-Type"] = value
    assert boundary_of(value).decode() == message.get_boundary()


@pytest.mark.parametrize("value", ["", "text/html", "multipart/related", 'application/json; boundary="x"'])
def test_a_content_type_without_a_boundary_is_broken(value: str) -> None:
    with pytest.raises(BrokenMultipart):
        boundary_of(value)


def test_one_part_at_a_time_is_in_memory() -> None:
    content = bytes(1 << 20)

    def chunks() -> object:
        for _ in range(20):
            yield b"\r\n--frontier\r\n\r\n"
            yield content
        yield b"\r\n--frontier--"

    tracemalloc.start()
    lengths = {len(part) for part in parts(chunks(), BOUNDARY)}  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lengths == {len(content)}
    assert peak < 4 * len(content)
