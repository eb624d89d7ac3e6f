"""The search for patients in what a bridge shows does find them."""

import base64

import pytest

from tests.support.patient_leaks import leaks

PATIENT = "CANARY-1041"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_number_is_found_as_text(encoding: str) -> None:
    assert leaks({"page": f"of {PATIENT}.".encode(encoding)}, [PATIENT]) == ["page: 0"]


@pytest.mark.parametrize("offset", range(6))
def test_a_number_is_found_in_base64_wherever_it_begins(offset: int) -> None:
    content = base64.b64encode(b"x" * offset + PATIENT.encode() + b" and more")
    assert leaks({"page": content}, [PATIENT]) == ["page: 0"]


def test_other_numbers_are_no_leak() -> None:
    assert leaks({"page": b"CANARY-2041", "output": base64.b64encode(b"CANARY-2041")}, [PATIENT]) == []
