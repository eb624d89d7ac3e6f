from concurrent.futures import Future

import pytest

from fhir_bridge.adapters.waiting_answers import WaitingAnswers
from fhir_bridge.senders import SenderRules
from hl7_listener.answering import Answer
from hl7_listener.outcome import Outcome

DEFAULT = SenderRules()
KEPT = Outcome("AA", expected_sequence=5, short_type=True)


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def waiting(seconds: Seconds) -> WaitingAnswers:
    return WaitingAnswers(20, seconds)


def keep(waiting: WaitingAnswers, message: int, rules: SenderRules = DEFAULT) -> "Future[Answer]":
    answer: Future[Answer] = Future()
    waiting.keep(message, KEPT, rules, answer)
    return answer


def test_an_effect_is_the_answer_in_the_words_that_the_sender_wants(waiting: WaitingAnswers) -> None:
    answer = keep(waiting, 1)
    waiting.settle(1, Outcome("AE", 204, "ORC^1^2"))
    assert answer.result(0) == Outcome("AE", 204, "ORC^1^2", expected_sequence=5, short_type=True)


def test_the_effect_of_another_message_answers_nobody(waiting: WaitingAnswers) -> None:
    answer = keep(waiting, 1)
    waiting.settle(2, Outcome("AA"))
    assert not answer.done()


def test_who_has_waited_long_enough_is_told_that_the_message_is_kept(waiting: WaitingAnswers, seconds: Seconds) -> None:
    early = keep(waiting, 1)
    seconds.now = 10
    late = keep(waiting, 1)
    seconds.now = 20
    waiting.expire()
    assert early.result(0) == KEPT
    assert not late.done()


def test_an_effect_that_comes_too_late_is_no_error(waiting: WaitingAnswers, seconds: Seconds) -> None:
    answer = keep(waiting, 1)
    seconds.now = 21
    waiting.expire()
    waiting.settle(1, Outcome("AE", 204))
    assert answer.result(0) == KEPT
    assert len(waiting) == 0


@pytest.mark.parametrize(
    ("rules", "effect", "code"),
    [
        (SenderRules(permanent_refusals="accept"), Outcome("AE", 204), "AA"),
        (SenderRules(permanent_refusals="accept"), Outcome("AR", 207), "AA"),
        (SenderRules(own_trouble="AE"), Outcome("AR", 207), "AE"),
        (SenderRules(), Outcome("AR", 207), "AR"),
    ],
)
def test_a_sender_whose_queue_would_stop_is_told_by_its_rules(
    waiting: WaitingAnswers, rules: SenderRules, effect: Outcome, code: str
) -> None:
    answer = keep(waiting, 1, rules)
    waiting.settle(1, effect)
    told = answer.result(0)
    assert isinstance(told, Outcome)
    assert told.code == code
