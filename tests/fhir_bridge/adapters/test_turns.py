import threading

from fhir_bridge.adapters.turns import Turns


def run_all(turns: Turns, sides: list[bool]) -> list[bool]:
    """The order in which waiting threads of both sides got their turns, once all of them waited."""
    order: list[bool] = []
    waiting = threading.Semaphore(0)

    def want(intake: bool) -> None:
        waiting.release()
        with turns.turn(intake=intake):
            order.append(intake)

    threads = [threading.Thread(target=want, args=(side,)) for side in sides]
    with turns.turn(intake=False):
        for thread in threads:
            thread.start()
        for _ in threads:
            waiting.acquire()
        while sum(turns._waiting.values()) < len(sides):  # the last of them has yet to take its place
            pass
    for thread in threads:
        thread.join(10)
    return order


def test_intake_gets_every_second_turn_while_both_sides_wait() -> None:
    assert run_all(Turns(), [False] * 6 + [True] * 3)[:6] == [True, False, True, False, True, False]


def test_a_side_alone_never_waits_for_the_other() -> None:
    assert run_all(Turns(), [False] * 3) == [False] * 3


def test_only_one_has_a_turn_at_a_time() -> None:
    turns, inside, most = Turns(), [0], [0]

    def work(intake: bool) -> None:
        for _ in range(200):
            with turns.turn(intake=intake):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(n % 2 == 0,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1]
