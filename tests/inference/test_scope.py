"""The out-of-scope gate: what the X-ray model answers for, and why not for the rest."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from inference.film import Instance, read_instances
from inference.manifest import manifest_of
from inference.refusal import InferenceRefused
from inference.scope import age_years, choose
from tests.support.films import a_chest, a_film

SCOPE = manifest_of("xray_pneumonia").scope
CHEST = a_chest()


def item(code: str) -> Dataset:
    coded = Dataset()
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = code, "SCT", "-"
    return coded


def film(folder: Path, name: str = "film", **attributes: object) -> Instance:
    path = a_film(folder / f"{name}.dcm", **{"pixels": CHEST, "view": "AP", **attributes})  # type: ignore[arg-type]
    return next(instance for instance in read_instances(folder) if instance.path == path)


def refusal_of(*instances: Instance) -> str:
    with pytest.raises(InferenceRefused) as caught:
        choose(SCOPE, instances)
    assert caught.value.explanation
    return caught.value.code


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_a_frontal_chest_film_of_a_small_child_is_in_scope(tmp_path: Path, modality: str) -> None:
    chosen = choose(SCOPE, [film(tmp_path, modality=modality)])
    assert chosen.caveats == ()


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"modality": "CT"}, "scope.modality"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "scope.sop-class"),
        ({"SOPClassUID": DigitalXRayImageStorageForProcessing}, "scope.sop-class"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "scope.pixels"),
        ({"NumberOfFrames": 2}, "scope.pixels"),
        ({"pixels": a_chest(223, 300)}, "scope.pixels"),
        ({"body_part": "HAND"}, "scope.body-part"),
        ({"body_part": "", "AnatomicRegionSequence": [item("85562004")]}, "scope.body-part"),  # hand
        ({"body_part": ""}, "scope.body-part-unknown"),
        ({"body_part": "", "SeriesDescription": "chesty"}, "scope.body-part-unknown"),
        ({"view": "LL"}, "scope.view"),
        ({"view": "", "ViewCodeSequence": [item("399067008")]}, "scope.view"),  # lateral
        ({"view": ""}, "scope.view-unknown"),
        ({"age": "006Y"}, "scope.age"),
        ({"age": "045Y"}, "scope.age"),
        ({"age": "011M"}, "scope.age"),
        ({"age": ""}, "scope.age-unknown"),
    ],
)
def test_what_is_out_of_scope_is_refused_by_name(tmp_path: Path, attributes: dict[str, object], code: str) -> None:
    assert refusal_of(film(tmp_path, **attributes)) == code


@pytest.mark.parametrize("age", ["001Y", "005Y", "012M", "018M", "071M", "060W", "400D"])
def test_ages_from_one_to_under_six_years_are_in_scope(tmp_path: Path, age: str) -> None:
    assert choose(SCOPE, [film(tmp_path, age=age)])


def test_the_views_code_counts_where_the_position_is_silent(tmp_path: Path) -> None:
    chosen = choose(SCOPE, [film(tmp_path, view="", ViewCodeSequence=[item("399348003")])])  # antero-posterior
    assert chosen.caveats == ()


def test_a_postero_anterior_film_gets_a_caveat(tmp_path: Path) -> None:
    (caveat,) = choose(SCOPE, [film(tmp_path, view="PA")]).caveats
    assert "postero-anterior" in caveat


@pytest.mark.parametrize("words", [{"SeriesDescription": "Chest AP"}, {"StudyDescription": "XR^CHEST^1 VIEW"}])
def test_the_description_counts_with_a_caveat_where_the_body_part_is_missing(
    tmp_path: Path, words: dict[str, object]
) -> None:
    (caveat,) = choose(SCOPE, [film(tmp_path, body_part="", **words)]).caveats
    assert "description" in caveat


def test_a_manifest_may_take_films_of_unknown_view_with_a_caveat(tmp_path: Path) -> None:
    lenient = SCOPE.model_copy(update={"unknown_view": "caveat"})
    (caveat,) = choose(lenient, [film(tmp_path, view="")]).caveats
    assert "no view" in caveat


def test_lateral_films_and_reports_beside_the_frontal_one_are_passed_over(tmp_path: Path) -> None:
    frontal = film(tmp_path, "frontal")
    others = [film(tmp_path, "lateral", view="LL"), film(tmp_path, "report", modality="SR")]
    assert choose(SCOPE, [*others, frontal]).instance is frontal


def test_two_frontal_films_are_refused(tmp_path: Path) -> None:
    assert refusal_of(film(tmp_path, "one"), film(tmp_path, "two")) == "scope.several-films"


def test_the_reason_is_that_of_the_film_that_came_furthest(tmp_path: Path) -> None:
    assert refusal_of(film(tmp_path, "report", modality="SR"), film(tmp_path, "adult", age="045Y")) == "scope.age"


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("004Y", 4),
        ("018M", 1.5),
        ("026W", 26 * 7 / 365.25),
        ("000D", 0),
        ("4Y", None),
        ("00-4", None),
        ("٠٠٤Y", None),
        ("", None),
    ],
)
def test_age_strings(text: str, years: float | None) -> None:
    assert age_years(text) == pytest.approx(years)
