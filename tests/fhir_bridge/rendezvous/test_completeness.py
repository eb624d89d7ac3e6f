"""A study as a PACS shows it over time, and what one look at it means."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.rendezvous.completeness import (
    Complete,
    Expired,
    NotYet,
    Verdict,
    Watch,
    fingerprint,
    judge,
    source_instances,
)
from fhir_bridge.study import InstanceRef

START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
QUIET, DEADLINE = 60.0, 7200.0
CT = "1.2.840.10008.5.1.4.1.1.2"


def slices(*numbers: int) -> tuple[InstanceRef, ...]:
    return tuple(InstanceRef(f"1.2.3.{number}", CT, "1.2.3", "CT") for number in numbers)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def look(instances: tuple[InstanceRef, ...], watch: Watch | None, seconds: float) -> Verdict:
    return judge(instances, watch, after(seconds), QUIET, DEADLINE, START)


def watch_of(verdict: Verdict) -> Watch:
    assert isinstance(verdict, NotYet)
    return verdict.watch


def test_the_fingerprint_is_the_sha256_of_the_sorted_uids_one_a_line() -> None:
    assert fingerprint(slices(2, 1)) == hashlib.sha256(b"1.2.3.1\n1.2.3.2").hexdigest()


@given(st.permutations(slices(1, 2, 3, 4)))
def test_the_fingerprint_does_not_depend_on_the_order_of_the_listing(instances: list[InstanceRef]) -> None:
    assert fingerprint(instances) == fingerprint(slices(1, 2, 3, 4))


@given(st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)))
def test_two_fingerprints_are_equal_only_for_the_same_instances(one: set[int], other: set[int]) -> None:
    assert (fingerprint(slices(*one)) == fingerprint(slices(*other))) == (one == other)


@pytest.mark.parametrize("modality", ["SR", "SEG", "KO", "PR", "DOC", "OT"])
def test_results_and_documents_are_no_source(modality: str) -> None:
    assert source_instances([InstanceRef("1.9", modality=modality)]) == ()


@pytest.mark.parametrize(
    ("sop_class", "is_source"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.33", False),  # Comprehensive SR
        ("1.2.840.10008.5.1.4.1.1.88.59", False),  # Key Object Selection
        ("1.2.840.10008.5.1.4.1.1.66.4", False),  # Segmentation
        ("1.2.840.10008.5.1.4.1.1.66.7", False),  # Label Map Segmentation
        ("1.2.840.10008.5.1.4.1.1.11.1", False),  # Grayscale Softcopy Presentation State
        ("1.2.840.10008.5.1.4.1.1.104.1", False),  # Encapsulated PDF
        ("1.2.840.10008.5.1.4.1.1.1", True),  # Computed Radiography
        ("1.2.840.10008.5.1.4.1.1.1.1", True),  # Digital X-Ray, for presentation
        ("1.2.840.10008.5.1.4.1.1.4", True),  # MR
        ("1.2.840.10008.5.1.4.1.1.6.1", True),  # Ultrasound
    ],
)
def test_the_sop_class_tells_where_no_modality_is_listed(sop_class: str, is_source: bool) -> None:
    assert bool(source_instances([InstanceRef("1.9", sop_class)])) == is_source


def test_our_own_series_is_no_source() -> None:
    ours = InstanceRef("1.9", "1.2.840.10008.5.1.4.1.1.7", "2.25.7", "CT")
    assert source_instances([*slices(1), ours], our_series={"2.25.7"}) == slices(1)


def test_a_study_that_stands_still_for_the_quiet_time_is_complete() -> None:
    watch = watch_of(look(slices(1, 2), None, 0))
    assert look(slices(2, 1), watch, QUIET) == Complete(fingerprint(slices(1, 2)))


def test_the_next_look_is_when_the_quiet_time_is_over() -> None:
    watch = watch_of(look(slices(1), None, 10))
    assert look(slices(1), watch, 25) == NotYet(Watch(fingerprint(slices(1)), after(10)), after(10 + QUIET))


def test_a_late_slice_begins_the_quiet_time_anew() -> None:
    watch = watch_of(look(slices(1), None, 0))
    assert look(slices(1, 2), watch, QUIET) == NotYet(Watch(fingerprint(slices(1, 2)), after(QUIET)), after(2 * QUIET))


def test_a_result_that_arrives_begins_nothing_anew() -> None:
    watch = watch_of(look(slices(1), None, 0))
    with_result = (*slices(1), InstanceRef("1.9", "1.2.840.10008.5.1.4.1.1.88.33", "1.9", "SR"))
    assert look(with_result, watch, QUIET) == Complete(fingerprint(slices(1)))


def test_a_study_with_nothing_but_results_has_no_images() -> None:
    assert look((InstanceRef("1.9", modality="SR"),), None, DEADLINE) == Expired("study.no-images")


def test_a_study_without_quiet_time_is_complete_at_once() -> None:
    assert judge(slices(1), None, START, 0, DEADLINE, START) == Complete(fingerprint(slices(1)))


@pytest.mark.parametrize(("waited", "pause"), [(0, 15), (300, 15), (1200, 60), (2400, 120), (7000, 120)])
def test_looks_for_the_first_image_grow_rarer(waited: float, pause: float) -> None:
    verdict = look((), None, waited)
    assert isinstance(verdict, NotYet)
    assert verdict.wake_at == after(waited + pause)


def test_a_study_without_an_image_at_the_deadline_is_given_up() -> None:
    assert look((), watch_of(look((), None, 0)), DEADLINE) == Expired("study.no-images")


def test_a_study_that_still_changes_at_the_deadline_is_given_up() -> None:
    watch = watch_of(look(slices(1), None, DEADLINE - 1))
    assert look(slices(1, 2), watch, DEADLINE) == Expired("study.still-arriving")


@pytest.mark.parametrize("seen_before", [(), None], ids=["no image before", "first look"])
def test_images_that_came_while_we_were_down_get_their_quiet_time_past_the_deadline(
    seen_before: tuple[InstanceRef, ...] | None,
) -> None:
    before = None if seen_before is None else watch_of(look(seen_before, None, 0))
    watch = watch_of(look(slices(1), before, DEADLINE + 100))
    assert look(slices(1), watch, DEADLINE + 100 + QUIET) == Complete(fingerprint(slices(1)))


@given(st.lists(st.tuples(st.integers(1, 4000), st.integers(0, 3)), min_size=1, max_size=30))
def test_every_history_of_looks_keeps_the_promises(history: list[tuple[int, int]]) -> None:
    """Complete only if the same images were seen a quiet time ago; each wait ends later than it began."""
    watch: Watch | None = None
    now, seen = 0, dict[int, int]()  # count of images -> when first seen so, unbroken
    for pause, count in history:
        now += pause
        seen = {count: seen.get(count, now)}
        verdict = look(slices(*range(count)), watch, now)
        if isinstance(verdict, NotYet):
            assert verdict.wake_at > after(now)
            watch = verdict.watch
            continue
        if isinstance(verdict, Complete):
            assert count > 0
            assert now - seen[count] >= QUIET
        else:
            assert now >= DEADLINE
        return
