"""The out-of-scope gate for projection images: which instance of a study the model may answer for, or why none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference.film import Instance
from inference.manifest import Scope
from inference.refusal import InferenceRefused

_DAYS_A_YEAR = 365.25
_UNITS_A_YEAR = {"D": _DAYS_A_YEAR, "W": _DAYS_A_YEAR / 7, "M": 12.0, "Y": 1.0}
_THORAX = {"51185008", "T-D3000", "43799004"}  # AnatomicRegionSequence: thorax (SCT, SRT), thoracic cavity


@dataclass(frozen=True, slots=True)
class Chosen:
    """The instance to analyse, and what must be said beside its result."""

    instance: Instance
    caveats: tuple[str, ...]


def choose(scope: Scope, instances: Sequence[Instance]) -> Chosen:
    """The one frontal film of the study that is in scope.

    Lateral films and other objects are passed over; two or more films in scope are refused, because which of them answers the
    order is for a person to say. Where no instance is in scope, the refusal is that of the instance that came furthest.
    Raises InferenceRefused `scope.modality`, `scope.sop-class`, `scope.pixels`, `scope.body-part`, `scope.body-part-unknown`,
    `scope.view`, `scope.view-unknown`, `scope.age`, `scope.age-unknown`, `scope.several-films`.
    """
    chosen: list[Chosen] = []
    furthest, refusal = -1, None
    for instance in instances:
        passed, caveats, reason = _examine(scope, instance)
        if reason is None:
            chosen.append(Chosen(instance, caveats))
        elif passed > furthest:
            furthest, refusal = passed, reason
    if len(chosen) > 1:
        raise InferenceRefused(
            "scope.several-films", "study", f"{len(chosen)} frontal films are in scope, and only one can be"
        )
    if chosen:
        return chosen[0]
    raise refusal or InferenceRefused("dicom.no-instances", "study", "the study holds no instance")


def _examine(scope: Scope, instance: Instance) -> tuple[int, tuple[str, ...], InferenceRefused | None]:
    """How many gates the instance passed, the caveats, and the refusal of the gate that stopped it."""
    caveats: list[str] = []
    for passed, gate in enumerate(_GATES):
        try:
            caveats += gate(scope, instance)
        except InferenceRefused as refusal:
            return passed, (), refusal
    return len(_GATES), tuple(caveats), None


def _modality(scope: Scope, instance: Instance) -> list[str]:
    if instance.text("Modality") not in scope.modalities:
        raise InferenceRefused("scope.modality", "Modality", f"the model reads {' and '.join(scope.modalities)} only")
    return []


def _sop_class(scope: Scope, instance: Instance) -> list[str]:
    if instance.text("SOPClassUID") not in scope.sop_classes:
        raise InferenceRefused(
            "scope.sop-class", "SOPClassUID", "not a radiograph as the modality stores it for presentation"
        )
    return []


def _pixels(scope: Scope, instance: Instance) -> list[str]:
    monochrome = instance.text("PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
    if not monochrome or instance.text("NumberOfFrames") not in ("", "1"):
        raise InferenceRefused("scope.pixels", "PhotometricInterpretation, NumberOfFrames", "not one grey picture")
    sides = [int(text) if (text := instance.text(name)).isdecimal() else 0 for name in ("Rows", "Columns")]
    if min(sides) < scope.smallest_side:
        raise InferenceRefused("scope.pixels", "Rows, Columns", f"smaller than {scope.smallest_side} pixels")
    return []


def _body_part(scope: Scope, instance: Instance) -> list[str]:
    named = instance.text("BodyPartExamined")
    if named in scope.body_parts or _region_code(instance) in _THORAX:
        return []
    if named or _region_code(instance):
        raise InferenceRefused("scope.body-part", "BodyPartExamined", f"the model reads {scope.body_parts[0]} only")
    words = f"{instance.text('SeriesDescription')} {instance.text('StudyDescription')}".replace("^", " ").split()
    if not set(words) & {word.upper() for word in scope.body_part_words}:
        raise InferenceRefused(
            "scope.body-part-unknown", "BodyPartExamined", "the header does not say which body part it shows"
        )
    return ["The header names no body part; the description says that it is the chest."]


def _view(scope: Scope, instance: Instance) -> list[str]:
    view = instance.text("ViewPosition") or scope.view_codes.get(_item_code(instance, "ViewCodeSequence"), "")
    if view in scope.views:
        return [scope.view_caveats[view]] if view in scope.view_caveats else []
    if view or _item_code(instance, "ViewCodeSequence"):
        raise InferenceRefused(
            "scope.view", "ViewPosition", f"the model reads the views {' and '.join(scope.views)} only"
        )
    if scope.unknown_view == "refuse":
        raise InferenceRefused(
            "scope.view-unknown", "ViewPosition", "the header does not say whether the film is frontal"
        )
    return ["The header names no view; the film was taken to be frontal."]


def _age(scope: Scope, instance: Instance) -> list[str]:
    age = age_years(instance.text("PatientAge"))
    if age is None:
        raise InferenceRefused("scope.age-unknown", "PatientAge", "the patient's age is not known")
    if not scope.age_from <= age < scope.age_below:
        wanted = f"from {scope.age_from:g} to under {scope.age_below:g} years"
        raise InferenceRefused("scope.age", "PatientAge", f"the model was made for ages {wanted}")
    return []


_GATES: tuple[Callable[[Scope, Instance], list[str]], ...] = (_modality, _sop_class, _pixels, _body_part, _view, _age)


def age_years(text: str) -> float | None:
    """An Age String (PS3.5 §6.2 AS: nnnD, nnnW, nnnM, nnnY) in years; None where it is none."""
    number, unit = text[:-1], text[-1:]
    if len(text) != 4 or not (number.isascii() and number.isdecimal()) or unit not in _UNITS_A_YEAR:
        return None
    return int(number) / _UNITS_A_YEAR[unit]


def _region_code(instance: Instance) -> str:
    return _item_code(instance, "AnatomicRegionSequence")


def _item_code(instance: Instance, sequence: str) -> str:
    items = instance.header.get(sequence)
    return str(items[0].get("CodeValue", "")) if items else ""
