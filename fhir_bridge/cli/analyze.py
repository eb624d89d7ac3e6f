"""`fhir-bridge analyze`: a folder of raw DICOM through de-identification and the models, without an order."""

import dataclasses
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import click

from fhir_bridge.cli.options import SET_UP, VERDICT_FAILED, configured, parts_of, print_json
from fhir_bridge.compose import Parts
from fhir_bridge.deid.crossing import bring_back, cross
from fhir_bridge.errors import Disposition, Refused, attempt
from fhir_bridge.rendezvous.dicom_header import UnreadableInstance, read_header
from fhir_bridge.result import Links, report_of
from fhir_bridge.settings import Settings
from fhir_bridge.study import ClinicalContext, RawStudy
from inference.prediction import Prediction
from mappings.finding import Report
from mappings.narrative import narrative_of
from mappings.order import Order, OrderControl, PatientIdentity


@click.command(epilog="Example: fhir-bridge analyze film/ --data-dir data --json --picture heat.png")
@click.argument("study_dir", metavar="STUDY_DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Write the explanation picture here.")
@click.option("--json", "as_json", is_flag=True)
@configured
def analyze(settings: Settings, study_dir: Path, picture: Path | None, as_json: bool) -> None:
    """De-identify one study, check it, run the models, print the result. Nothing is sent anywhere.

    The pseudonyms are kept in the vault of the data folder. Exit code 1: not analysed, and the reason stands in the result.
    """
    with parts_of(settings) as parts:
        tried = attempt(lambda: _analyze(parts, study_dir))
        if tried.error is not None and tried.error.disposition is not Disposition.REFUSED:
            click.echo(f"analyze: {tried.error.code} at {tried.error.where}: {tried.error.explanation}", err=True)
            sys.exit(SET_UP)
        if tried.error is not None:
            answer = _not_analysed(tried.error.code, tried.error.explanation, parts)
        else:
            assert tried.value is not None  # noqa: S101 - an attempt has a value or an error
            report, spoke = tried.value
            answer = _answer(report, spoke)
            if picture and report.explanation_png:
                picture.write_bytes(report.explanation_png)
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    sys.exit(0 if answer["status"] == "analysed" else VERDICT_FAILED)


def _analyze(parts: Parts, study_dir: Path) -> tuple[Report, Prediction]:
    raw = _raw_study(study_dir)
    context = ClinicalContext({})
    job = f"analyze-{uuid.uuid4().hex}"
    folder = parts.artifacts.folder(job, identified=False)
    try:
        study, pictures = folder / "study", folder / "analysis"
        pictures.mkdir()
        crossing = cross(raw, context, job=job, into=study, keys=parts.keys, vault=parts.vault)
        predictions = parts.predictor.analyse(crossing.study, parts.settings.models.enabled, pictures)
        originals = bring_back(predictions, job=job, vault=parts.vault)
        order = Order(OrderControl.NONE, PatientIdentity())
        report = report_of(job, order, Links(), originals, pictures, issued=parts.clock.now())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report, next(p for p in originals if p.status == ("analysed" if report.findings else p.status))


def _raw_study(folder: Path) -> RawStudy:
    """The one study in the folder. Files that are no DICOM are left out. Raises Refused `study.none`, `study.ambiguous`."""
    files, studies = [], set()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            (uid,) = read_header(path, ("StudyInstanceUID",)).values()
        except UnreadableInstance:
            continue
        files.append(path)
        studies.add(uid)
    if len(studies) != 1:
        code = "study.ambiguous" if studies else "study.none"
        raise Refused(code, "STUDY_DIR", f"the folder holds {len(studies)} studies; it must hold one")
    return RawStudy(folder, studies.pop(), tuple(files))


def _answer(report: Report, spoke: Prediction) -> dict[str, Any]:
    narrative = narrative_of(report)
    return {
        "status": "analysed" if spoke.status == "analysed" else "not_analysed",
        "reason": report.reason,
        "prediction": {f.output: {"probability": f.probability, "present": f.value.display} for f in report.findings},
        "analysis": {
            "model": spoke.model,
            "version": spoke.version,
            "weights_digest": spoke.weights_digest,
            "thresholds": {f.output: f.threshold for f in report.findings},
            "quality": dict(spoke.quality),
            "caveats": list(spoke.caveats),
            "explanation_method": spoke.picture_method,
            "seconds": spoke.seconds,
        },
        "report": dataclasses.asdict(narrative),
        "quality_score": report.quality_score,
        "timestamp": report.issued.isoformat(),
    }


def _not_analysed(code: str, explanation: str, parts: Parts) -> dict[str, Any]:
    """Refused before any model saw it."""
    return {
        "status": "not_analysed",
        "reason": code,
        "prediction": {},
        "analysis": {},
        "report": {"impression": [f"Not analysed because {explanation} ({code})."]},
        "quality_score": None,
        "timestamp": parts.clock.now().isoformat(),
    }


def _print(answer: dict[str, Any]) -> None:
    for part in ("status", "findings", "impression", "recommendations", "limits"):
        lines = answer["report"].get(part) or ()
        for line in [lines] if isinstance(lines, str) else lines:
            click.echo(f"{part}: {line}")
