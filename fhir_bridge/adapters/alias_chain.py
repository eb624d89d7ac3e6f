"""Following merges from number to number, for the ledgers. Pure.

Each merge is kept as it was said, and chains are followed when read: so a number that is merged anew, elsewhere, takes along what
was merged into it, and nothing else.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from fhir_bridge.ports import PatientAlias
from fhir_bridge.rendezvous.survivor import same_number
from mappings.order import Identifier

Step = Callable[[Identifier], PatientAlias | None]  # what became of a number, one merge far
_LONGEST = 1000  # a chain cannot close on itself; were one to, we would rather stop


def followed(number: Identifier, step: Step) -> PatientAlias | None:
    """The number and its survivor at the end of the chain; None where it was never merged."""
    steps = list(_chain(number, step))
    return replace(steps[0], survivor=steps[-1].survivor) if steps else None


def reversal(alias: PatientAlias, step: Step) -> PatientAlias | None:
    """The known merge that says the reverse: its survivor's own, where that leads through the former number."""
    steps = list(_chain(alias.survivor, step))
    return steps[0] if any(same_number(each.survivor, alias.former) for each in steps) else None


def is_stale(alias: PatientAlias, reverse: PatientAlias | None) -> bool:
    """Whether the reverse is known, and was said later."""
    return bool(reverse and alias.at and alias.at.is_before(reverse.at))


def _chain(number: Identifier, step: Step) -> Iterator[PatientAlias]:
    for _ in range(_LONGEST):
        known = step(number)
        if known is None:
            return
        yield known
        number = known.survivor
