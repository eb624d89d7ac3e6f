"""Orders, merges and work in any sequence: every report that leaves is of the patient who survives at that moment (facts item 32)."""

import tempfile
from pathlib import Path
from typing import Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_bridge.job import Status
from fhir_bridge.order_intake import accept_order
from tests.support.adt_messages import merge, take_adt
from tests.support.bridge_in_memory import PATIENT, BridgeInMemory
from tests.support.builders import MRN_SYSTEM, an_order
from tests.support.frozen_clock import FrozenClock

PEOPLE = "1234"

Step = tuple[Literal["order", "merge", "work"], str, str]
_WHO = st.sampled_from(PEOPLE)
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("order"), _WHO, st.just("")),
        st.tuples(st.just("merge"), _WHO, _WHO),
        st.tuples(st.just("work"), st.sampled_from("124"), st.just("")),
    ),
    max_size=14,
)


class Survivors:
    """What the merges mean, by hand: people who are one, each group with the number that is in use."""

    def __init__(self) -> None:
        self.groups: list[tuple[set[str], str]] = [({person}, person) for person in PEOPLE]

    def of(self, person: str) -> str:
        return next(head for members, head in self.groups if person in members)

    def merge(self, prior: str, survivor: str) -> None:
        """`prior` is in use. Into one who is the same already: the number in use changes. Else the two groups become one."""
        own = next(group for group in self.groups if prior in group[0])
        other = next(group for group in self.groups if survivor in group[0])
        joined = (own[0] | other[0], survivor if own is other else other[1])
        self.groups = [group for group in self.groups if group not in (own, other)] + [joined]


class Hospital:
    """A bridge, a film for every order, and whoever survives."""

    def __init__(self, folder: Path) -> None:
        self.bridge = BridgeInMemory(folder, FrozenClock())
        self.survivors = Survivors()
        self.person_of: dict[str, str] = {}
        self.minute = 0
        self.bridge.record.remove("Patient/7")
        for person in PEOPLE:
            number = [{"system": MRN_SYSTEM, "value": f"CANARY-{person}"}]
            self.bridge.record.store(PATIENT | {"id": person, "identifier": number})

    def order(self, person: str) -> None:
        name = str(len(self.person_of))
        uid = f"2.25.7{name}"
        self.bridge.film(
            PatientID=f"CANARY-{person}", StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1", AccessionNumber=""
        )
        order = an_order(name, mrn=f"CANARY-{person}", study_instance_uid=uid)
        with self.bridge.store.transaction() as ledger:
            self.person_of[accept_order(ledger, order, "hl7v2").job] = person

    def merge(self, prior: str, survivor: str) -> None:
        """Only a number in use is merged into another: that of a group's head."""
        prior = self.survivors.of(prior)
        if prior == survivor:
            return
        self.minute += 1
        at = f"202603021{self.minute // 60}{self.minute % 60:02}00"
        take_adt(self.bridge.store, merge(f"CANARY-{survivor}", f"CANARY-{prior}", at=at))
        self.survivors.merge(prior, survivor)

    def work(self, steps: int) -> None:
        """As many steps, and a look at whatever left the house by them."""
        versions = self.bridge.destination.versions
        for _ in range(steps):
            before = {job: len(reports) for job, reports in versions.items()}
            if not self.bridge.worker.run_once("w"):
                self.bridge.clock.advance(6)
            for job, reports in versions.items():
                for report in reports[before.get(job, 0) :]:
                    assert report.patient == f"Patient/{self.survivors.of(self.person_of[job])}"

    def end(self) -> None:
        for _ in range(20 * (1 + len(self.person_of))):
            self.work(1)
        for job, person in self.person_of.items():
            assert self.bridge.job(job).status is Status.DONE
            last = self.bridge.destination.versions[job][-1]
            survivor = self.survivors.of(person)
            numbers = [number.value for number in last.patient_identity.identifiers]
            assert (last.patient, numbers) == (f"Patient/{survivor}", [f"CANARY-{survivor}"])


# item 32: repeated, chained and reversed merges beside orders and deliveries
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_every_report_is_of_the_patient_who_survives(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hospital = Hospital(Path(folder))
        try:
            for what, one, other in steps:
                if what == "order":
                    hospital.order(one)
                elif what == "merge":
                    hospital.merge(one, other)
                else:
                    hospital.work(int(one))
            hospital.end()
        finally:
            hospital.bridge.vault.close()
