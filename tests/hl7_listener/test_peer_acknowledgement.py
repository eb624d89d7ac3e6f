"""An answer that a peer sends, as it comes in the field."""

import pytest

from hl7_listener.acknowledgement import Acknowledgement, parse_acknowledgement
from hl7_listener.refusal import MessageRefused


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"MSH|^~\\&|A|B\rMSA|AA|MSG1\r", ("AA", b"MSG1", "", "", "")),
        (b"MSH|^~\\&|A|B\nMSA|CA|MSG1\n", ("CA", b"MSG1", "", "", "")),
        (b"MSH|^~\\&|A|B\rMSA|AE|A\\T\\B|no such patient\r", ("AE", b"A\\T\\B", "", "", "no such patient")),
        (b"MSH|^~\\&|A|B\rMSA|AR|\rERR||MSH^1^10|101^Missing^HL70357|E|||diag|say\r", ("AR", b"", "101", "MSH^1^10", "say")),
        (b"MSH|^~\\&|A|B\rMSA|AE|1\rERR|PID^1^3^101&Missing&HL70357\r", ("AE", b"1", "101", "PID^1^3", "Missing")),
        (b"MSH|^~\\&|A|B\rMSA|AE|1|M\xfcller\r", ("AE", b"1", "", "", "Müller")),
    ],
)  # fmt: skip
def test_a_peer_s_answer_is_read(answer: bytes, expected: tuple[str, ...]) -> None:
    found = parse_acknowledgement(answer)

    assert (found.code, found.control_id, found.error_code, found.location, found.text) == expected
    assert found.is_positive is (expected[0] in ("AA", "CA"))


@pytest.mark.parametrize(
    ("answer", "code"), [(b"MSH|^~\\&|A\rPID|1\r", "hl7v2.no-acknowledgement"), (b"hello", "hl7v2.no-header")]
)
def test_what_is_no_answer_is_refused(answer: bytes, code: str) -> None:
    with pytest.raises(MessageRefused) as caught:
        parse_acknowledgement(answer)

    assert caught.value.code == code


def test_an_answer_does_not_show_what_the_peer_wrote() -> None:
    assert "CANARY" not in repr(Acknowledgement("AE", b"1", text="CANARY", payload=b"CANARY"))
