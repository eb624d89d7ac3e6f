"""The boundary: the only place where a study of a patient becomes a study of nobody, and the only way back.

`cross` rewrites, checks what it wrote by other code, writes the vault's mapping to disk, and only then releases. All errors are
`deid.*` (docs/operations.md); on any of them nothing is left in the de-identified folder.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from errno import errorcode
from pathlib import Path
from typing import Any

from fhir_bridge.deid.dicom import is_image, rewrite, sop_class_name, sop_class_of, uid_in
from fhir_bridge.deid.elements import Part10, read_file
from fhir_bridge.deid.fhir import deidentify_resource, gender_of, parse_fhir_date
from fhir_bridge.deid.gates import parse_date, plain_text
from fhir_bridge.deid.identifiers import KnownIdentifiers, collect_from_header, collect_from_patient, original_values
from fhir_bridge.deid.manifest import Manifest, ManifestFile, read_manifest, sha256_of, tampered
from fhir_bridge.deid.pseudonym import ProjectKeys
from fhir_bridge.deid.subject import Age, Subject, age_between, age_from_string
from fhir_bridge.deid.vault import Vault
from fhir_bridge.deid.verify import IdentifierSearch, verify_instance, verify_resource
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.study import _CROSSED, ClinicalContext, DeidentifiedContext, DeidentifiedStudy, RawStudy, Resource
from inference.prediction import Prediction

_PATIENT_ID, _ISSUER, _BIRTH_DATE, _SEX, _AGE = 0x00100020, 0x00100021, 0x00100030, 0x00100040, 0x00101010
_STUDY_UID = 0x0020000D
_DATES = (0x00080020, 0x00080022, 0x00080021, 0x00080023)  # Study, Acquisition, Series, Content Date
_SEXES = {"M": "male", "F": "female", "O": "other"}
_UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class Crossing:
    """What was released: the study, the context, and the manifest that `reopen` makes both from again."""

    study: DeidentifiedStudy
    context: DeidentifiedContext
    manifest: bytes


@dataclass(slots=True)
class _Originals:
    """What the first pass over the files learned."""

    images: list[Path]
    values: list[dict[int, set[bytes]]]
    headers: list[Part10]
    skipped: Counter[str]


def cross(
    raw: RawStudy, context: ClinicalContext, *, job: str, into: Path, keys: ProjectKeys, vault: Vault
) -> Crossing:
    """De-identify a study and its context into the folder `into`. The same study and job give the same bytes.

    Raises Refused `deid.*`; Unavailable `deid.vault-unavailable`, `deid.storage-unavailable`.
    """
    with _storage():
        into.mkdir(parents=True, exist_ok=True)
        _clear(into)
        try:
            return _cross(raw, context, job, into, keys, vault)
        except BaseException:
            _clear(into)
            raise


@contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # its text holds a path
        explanation = "the study's files cannot be read or written now"
        raise Unavailable("deid.storage-unavailable", errorcode.get(error.errno or 0, "unknown"), explanation) from None


def _cross(raw: RawStudy, context: ClinicalContext, job: str, into: Path, keys: ProjectKeys, vault: Vault) -> Crossing:
    originals = _read_originals(raw)
    known = _known_identifiers(context.patient, originals)
    search = IdentifierSearch(known)
    subject = Subject(keys, _identity(context, originals), _age(context, originals), known.words)
    actions: Counter[tuple[str, str]] = Counter()
    files = [
        _write_instance(path, values, subject, search, into, actions)
        for path, values in zip(originals.images, originals.values, strict=True)
    ]
    manifest = Manifest(
        job=job,
        project=keys.project,
        study_instance_uid=subject.uid(uid_in(originals.headers[0].elements, _STUDY_UID), "study"),
        files=tuple(sorted(files, key=lambda file: file.name)),
        skipped=originals.skipped,
        actions=actions,
        context=_deidentified_context(context, originals, subject, search, actions),
    )
    vault.remember(job, keys.project, subject.pseudonym, subject.mapped)
    _release(into, manifest)
    return _crossing(manifest, into)


def reopen(manifest: bytes, folder: Path) -> Crossing:
    """A crossing made again after a restart. Raises Refused `deid.tampered` where a file is missing, foreign or changed."""
    found = read_manifest(manifest)
    expected = {file.name: file.sha256 for file in found.files}
    with _storage():
        present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if present != set(expected) or len(expected) != len(found.files):
            raise tampered("folder")
        for number, (name, digest) in enumerate(sorted(expected.items()), start=1):
            path = folder / name
            if path.is_symlink() or not path.is_file() or sha256_of(path.read_bytes()) != digest:
                raise tampered(f"file {number}")
    return _crossing(found, folder)


def bring_back(predictions: tuple[Prediction, ...], *, job: str, vault: Vault) -> tuple[Prediction, ...]:
    """The predictions with the original UIDs. Raises Refused `deid.foreign-pseudonym` unless every one is this very job's."""
    wanted = [pair for prediction in predictions for pair in _pseudonyms_of(prediction)]
    originals = vault.resolve(job, wanted)
    return tuple(_with_originals(prediction, originals) for prediction in predictions)


def _pseudonyms_of(prediction: Prediction) -> Iterator[tuple[str, str]]:
    """A refused study may name no study; whoever analysed one must say which."""
    if prediction.study_instance_uid or prediction.status != "refused":
        yield "study", prediction.study_instance_uid
    for image in prediction.inputs:
        yield "instance", image.sop_instance_uid


def _with_originals(prediction: Prediction, originals: Mapping[tuple[str, str], str]) -> Prediction:
    inputs = tuple(
        replace(image, sop_instance_uid=originals["instance", image.sop_instance_uid]) for image in prediction.inputs
    )
    study = prediction.study_instance_uid
    return replace(prediction, study_instance_uid=originals["study", study] if study else "", inputs=inputs)


def _read_originals(raw: RawStudy) -> _Originals:
    found = _Originals([], [], [], Counter())
    for path in (raw.folder / file for file in raw.files):
        content = path.read_bytes()
        file = read_file(content)
        sop_class = sop_class_of(file)
        if not is_image(sop_class):
            found.skipped[sop_class_name(sop_class)] += 1
            continue
        found.images.append(path)
        found.headers.append(_header_only(file))
        found.values.append(original_values(file.elements))
    if not found.images:
        raise Refused("deid.nothing-to-cross", "study", "the study holds no image")
    _check_one_study(raw, found.headers)
    return found


def _header_only(file: Part10) -> Part10:
    """The elements asked for later, copied, so that the file's bytes can go."""
    wanted = (_PATIENT_ID, _ISSUER, _BIRTH_DATE, _SEX, _AGE, _STUDY_UID, *_DATES)
    elements = {
        tag: replace(file.elements[tag], value=memoryview(bytes(file.elements[tag].value)))
        for tag in wanted
        if tag in file.elements
    }
    return Part10(file.transfer_syntax, file.encoding, elements)


def _check_one_study(raw: RawStudy, headers: Sequence[Part10]) -> None:
    studies = {uid_in(header.elements, _STUDY_UID) for header in headers}
    if len(studies) > 1 or (raw.study_instance_uid and studies != {raw.study_instance_uid}):
        raise Refused("deid.mixed-studies", "0020,000D", "the files are not all of the study that was asked for")
    if len({(_text(header, _PATIENT_ID), _text(header, _ISSUER)) for header in headers}) > 1:
        raise Refused("deid.mixed-patients", "0010,0020", "the files of the study name more than one patient")


def _known_identifiers(patient: Resource, originals: _Originals) -> KnownIdentifiers:
    known = KnownIdentifiers()
    collect_from_patient(known, patient)
    for values in originals.values:
        collect_from_header(known, values)
    return known


def _identity(context: ClinicalContext, originals: _Originals) -> str:
    """What makes the patient the same in every study: the FHIR server's id, else what the images say."""
    if isinstance(context.patient.get("id"), str):
        return f"Patient/{context.patient['id']}"
    header = originals.headers[0]
    patient_id = _text(header, _PATIENT_ID)
    if patient_id:
        return f"{_text(header, _ISSUER)}|{patient_id}"
    return f"study|{uid_in(header.elements, _STUDY_UID)}"


def _age(context: ClinicalContext, originals: _Originals) -> Age | None:
    """From DICOM birth date and study date, else from FHIR's birth date, else from PatientAge."""
    days = [parse_date(_text(header, tag)) for tag in _DATES for header in originals.headers]
    day = next((found for found in days if found is not None), None)
    births = [parse_date(_text(header, _BIRTH_DATE)) for header in originals.headers]
    births.append(_birth_date_of(context.patient))
    ages = [age_between(birth, day) for birth in births if birth is not None and day is not None]
    ages += [age_from_string(_text(header, _AGE)) for header in originals.headers]
    return next((age for age in ages if age is not None), None)


def _birth_date_of(patient: Resource) -> date | None:
    return parse_fhir_date(patient.get("birthDate"))


def _text(header: Part10, tag: int) -> str:
    return (plain_text(header.elements[tag]) or "") if tag in header.elements else ""


def _write_instance(
    path: Path,
    values: Mapping[int, set[bytes]],
    subject: Subject,
    search: IdentifierSearch,
    into: Path,
    actions: Counter[tuple[str, str]],
) -> ManifestFile:
    """Only bytes that passed the check are written, under a name that is not yet released."""
    content = path.read_bytes()
    rewritten = rewrite(content, subject)
    verify_instance(rewritten.content, values, search)
    actions.update(rewritten.actions)
    name = f"{rewritten.sop_instance_uid}.dcm"
    unfinished = into / (name + _UNFINISHED)
    if unfinished.exists():
        raise Refused("deid.duplicate-instance", "0008,0018", "two files have the same SOP Instance UID")
    with unfinished.open("wb") as file:
        file.write(rewritten.content)
        file.flush()
        os.fsync(file.fileno())
    return ManifestFile(name, sha256_of(rewritten.content), subject.keys.digest(content))


def _release(into: Path, manifest: Manifest) -> None:
    for file in manifest.files:
        (into / (file.name + _UNFINISHED)).replace(into / file.name)
    descriptor = os.open(into, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear(into: Path) -> None:
    """Remove what an earlier crossing left: ours alone, by its names."""
    for pattern in ("2.25.*.dcm", f"2.25.*.dcm{_UNFINISHED}"):
        for path in into.glob(pattern):
            path.unlink()


def _deidentified_context(
    context: ClinicalContext,
    originals: _Originals,
    subject: Subject,
    search: IdentifierSearch,
    actions: Counter[tuple[str, str]],
) -> dict[str, Any]:
    resources: dict[str, list[Resource]] = {}
    for name in sorted(context.others):
        for resource in context.others[name]:
            reduced = deidentify_resource(resource, subject, actions)
            if reduced is not None:
                verify_resource(reduced, search)
                resources.setdefault(reduced["resourceType"], []).append(reduced)
    sex = gender_of(context.patient) or _SEXES.get(_text(originals.headers[0], _SEX), "")
    return {"age_years": subject.age.years if subject.age else None, "sex": sex, "resources": resources}


def _crossing(manifest: Manifest, folder: Path) -> Crossing:
    found = manifest.context
    resources = {name: tuple(items) for name, items in found["resources"].items()}
    files = tuple(folder / file.name for file in manifest.files)
    study = DeidentifiedStudy(_CROSSED, folder, manifest.study_instance_uid, files)
    context = DeidentifiedContext(_CROSSED, found["age_years"], found["sex"], resources)
    return Crossing(study, context, manifest.to_json())
