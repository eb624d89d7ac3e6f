"""Bytes near a message: a refusal with its place or an answer, nothing else. The long run is `benchmarks/fuzz_messages.py`."""

import random
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.message_fuzz import FuzzCount, mutants, seeds_in

DATA = Path(__file__).parents[1] / "data" / "hl7v2"
SEEDS = seeds_in(DATA)


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_message_is_refused_or_answered(seed: int) -> None:
    count = FuzzCount()

    for payload in islice(mutants(SEEDS, random.Random(seed)), 100):
        count.take(payload)

    assert count.outcomes["answered"] > 50


@given(st.sampled_from(SEEDS), st.integers(0, 200), st.integers(0, 8), st.binary(max_size=12))
def test_any_bytes_anywhere_leave_a_refusal_or_an_answer(raw: bytes, start: int, removed: int, added: bytes) -> None:
    count = FuzzCount()

    count.take(raw[:start] + added + raw[start + removed :])

    assert sum(count.outcomes.values()) >= 1
