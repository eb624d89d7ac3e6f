"""`fhir-bridge study`: is a study in the archive, can it be had whole, and what is in it.

Accession numbers and UIDs are read from standard input or a file, never from the command line, where others of the machine see them.
"""

import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

import click
from pydicom.uid import UID
from rich.markup import escape
from rich.table import Table

from fhir_bridge import log
from fhir_bridge.adapters.folder_description import Description, Series, describe
from fhir_bridge.cli.options import SET_UP, VERDICT_FAILED, configured, console, parts_of, print_json
from fhir_bridge.errors import Classified, Disposition, Refused, Unavailable, attempt
from fhir_bridge.ports import ImageArchive
from fhir_bridge.rendezvous.completeness import fingerprint, source_instances
from fhir_bridge.settings import Settings
from fhir_bridge.study import InstanceRef, StudyQuery

_UID = re.compile(r"[0-9.]{1,64}")
_OURS = {"archive.storage-failed", "archive.unauthorized", "archive.unavailable"}  # says nothing of the study

_file = click.option(
    "--file", "source", type=click.File("r", encoding="utf-8"), default="-", help="One a line; default: standard input."
)
_by = click.option("--by", type=click.Choice(["accession", "uid"]), default="accession", show_default=True)
_json = click.option("--json", "as_json", is_flag=True)


@click.group()
def study() -> None:
    """Find a study in the archive, fetch it whole, say what is in it."""


@study.command(epilog="Example: cat numbers.txt | fhir-bridge study find --data-dir data --json")
@_file
@_by
@click.option("--identifiers", is_flag=True, help="Print the Study Instance UIDs, which identify the patient.")
@_json
@configured
def find(settings: Settings, source: TextIO, by: str, identifiers: bool, as_json: bool) -> None:
    """Look for studies by accession number or Study Instance UID, one a line, from a file or standard input.

    Prints for each line how many studies there are, with their instances and modalities. Exit code 1: a line has none.
    """
    fine = True
    with parts_of(settings) as parts:
        for number, query in enumerate(_queries(source, by), start=1):
            found = [_found(uid, parts.archive.list_instances(uid)) for uid in parts.archive.find_studies(query)]
            fine &= bool(found)
            if not identifiers:
                found = [{name: value for name, value in one.items() if name != "study"} for one in found]
            if as_json:
                print_json({"line": number, "studies": found})
                continue
            click.echo(f"line {number}: {_plural(len(found), 'study', 'studies')}")
            for one in found:
                click.echo(f"  {_in_words(one)}")
    sys.exit(0 if fine else VERDICT_FAILED)


@study.command(epilog="Example: cat number.txt | fhir-bridge study fetch --into film --data-dir data")
@_file
@_by
@click.option("--into", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new or empty folder.")
@_json
@configured
def fetch(settings: Settings, source: TextIO, by: str, into: Path, as_json: bool) -> None:
    """Fetch one study whole into a folder: raw files, with the patient's identity.

    Exit code 1: not there, not complete, still arriving, broken, or of two patients; the reason is printed, and no folder is left.
    """
    if into.exists() and any(into.iterdir()):
        click.echo("fetch: --into: the folder is not empty", err=True)
        sys.exit(SET_UP)
    queries = _queries(source, by)
    if len(queries) != 1:
        click.echo("fetch: give one study, on one line", err=True)
        sys.exit(SET_UP)
    with parts_of(settings) as parts:
        tried = attempt(lambda: _fetch(parts.archive, queries[0], into))
    if tried.error is not None:
        _not_fetched(tried.error, into, as_json)
    files, listed = tried.value or ((), ())
    size = sum(path.stat().st_size for path in files)
    answer = {"status": "complete", **_found("", listed), "bytes": size}
    del answer["study"]
    if as_json:
        print_json(answer)
    else:
        click.echo(f"complete: {_in_words(answer)}, {size / 1e6:.1f} MB")


@study.command("describe", epilog="Example: fhir-bridge study describe film/ --json")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@_json
def describe_(folder: Path, as_json: bool) -> None:
    """Say series by series what is in a folder of DICOM files, zip files included, by their headers. No value of a patient is printed.

    `volume` says whether the frames of a series form one regular stack; files that cannot be used are named with the reason. Exit code
    1: there are such, or instances are missing, or a study names two patients, or there is no DICOM at all.
    """
    log.configure()  # pydicom warns of odd values by printing them
    tried = attempt(lambda: describe(folder))
    if tried.error is not None or tried.value is None:
        click.echo("describe: the folder cannot be read", err=True)
        sys.exit(SET_UP)
    if as_json:
        print_json(_described(tried.value))
    else:
        _print(tried.value)
    sys.exit(0 if tried.value.is_sound else VERDICT_FAILED)


def _queries(source: TextIO, by: str) -> list[StudyQuery]:
    """One a line that is not blank. Exits where there is none, or one is no UID: they become parts of addresses."""
    if source.isatty():
        click.echo(f"one {by} a line, then Ctrl-D:", err=True)
    lines = [line.strip() for line in source.read().splitlines() if line.strip()]
    if not lines:
        click.echo("study: nothing to look for: give numbers on standard input or by --file", err=True)
        sys.exit(SET_UP)
    if by == "accession":
        return [StudyQuery(accession=line) for line in lines]
    for number, line in enumerate(lines, start=1):
        if not _UID.fullmatch(line):
            click.echo(f"study: line {number} is no UID", err=True)
            sys.exit(SET_UP)
    return [StudyQuery(study_instance_uid=line) for line in lines]


def _found(uid: str, listed: tuple[InstanceRef, ...]) -> dict[str, Any]:
    return {
        "study": uid,
        "instances": len(listed),
        "sources": len(source_instances(listed)),
        "series": len({instance.series_instance_uid for instance in listed}),
        "modalities": dict(sorted(Counter(instance.modality for instance in listed).items())),
    }


def _in_words(found: dict[str, Any]) -> str:
    modalities = ", ".join(f"{count} {name or 'of unnamed modality'}" for name, count in found["modalities"].items())
    words = (
        f"{_plural(found['instances'], 'instance')} in {_plural(found['series'], 'series', 'series')} ({modalities})"
    )
    return f"{found['study']}: {words}" if found.get("study") else words


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _fetch(archive: ImageArchive, query: StudyQuery, into: Path) -> tuple[tuple[Path, ...], tuple[InstanceRef, ...]]:
    """The files, and the instances as listed before; a second look must list the same."""
    found = archive.find_studies(query)
    if not found:
        raise Refused("study.not-found", "archive", "no study of this number")
    if len(found) > 1:
        raise Refused("study.ambiguous", "archive", "several studies bear this accession number")
    listed = archive.list_instances(found[0])
    files = archive.retrieve(found[0], into)
    if fingerprint(archive.list_instances(found[0])) != fingerprint(listed):
        raise Unavailable("study.still-arriving", "archive", "instances came or went while the study was fetched")
    mixed = sorted({name for series in describe(into).series for name in series.mixed})
    if mixed:
        raise Refused("identity.mismatch", ", ".join(mixed), "the files of the study name different patients")
    return files, listed


def _not_fetched(error: Classified, into: Path, as_json: bool) -> None:
    if into.exists():
        shutil.rmtree(into, ignore_errors=True)
    if as_json:
        print_json(
            {"status": "not-fetched", "code": error.code, "where": error.where, "explanation": error.explanation}
        )
    else:
        click.echo(f"not fetched: {error.code} at {error.where}: {error.explanation}", err=True)
    is_ours = error.code in _OURS or error.disposition is Disposition.BUG
    sys.exit(SET_UP if is_ours else VERDICT_FAILED)


def _described(found: Description) -> dict[str, Any]:
    return {
        "instances": found.instances,
        "copies": found.copies,
        "foreign": found.foreign,
        "indexes": found.indexes,
        "missing": found.missing,
        "refused": [{"file": name, "reason": reason} for name, reason in found.refused],
        "series": [_row(series) for series in found.series],
    }


def _row(series: Series) -> dict[str, Any]:
    summary = series.summary
    return {
        "study": series.study,
        "number": summary.number,
        "modality": list(summary.modality),
        "sop_class": [UID(uid).name for uid in summary.sop_classes],
        "transfer_syntax": [UID(uid).name for uid in summary.transfer_syntaxes],
        "size": [list(size) for size in summary.sizes],
        "photometric": list(summary.photometric),
        "instances": summary.instances,
        "frames": summary.frames,
        "kinds": summary.kinds,
        "orientation": list(summary.orientations),
        "spacing": [list(spacing) for spacing in summary.spacings],
        "thickness": [thickness[0] for thickness in summary.thicknesses],
        "slice_spacing": summary.slice_spacing,
        "volume": list(summary.volume) or "regular",
        "mixed_patients": list(series.mixed),
    }


def _print(found: Description) -> None:
    names = (
        *("study", "number", "modality", "sop_class", "transfer_syntax", "size", "instances", "frames", "kinds"),
        *("orientation", "spacing", "slice_spacing", "volume"),
    )
    table = Table(*names)
    for series in found.series:
        row = _row(series)
        table.add_row(*(escape(_cell(row[name]).replace(" Storage", "")) for name in names))
    console().print(table)
    for name, reason in found.refused:
        click.echo(f"refused: {name}: {reason}")
    mixed = sorted({series.study for series in found.series if series.mixed})
    for study_number in mixed:
        click.echo(f"study {study_number} names different patients")
    counts = {
        "once more": found.copies,
        "no DICOM": found.foreign,
        "DICOMDIR": found.indexes,
        "named by a DICOMDIR and not there": found.missing,
    }
    parts = [f"{_plural(found.instances, 'instance')}", *(f"{count} {what}" for what, count in counts.items() if count)]
    click.echo(", ".join(parts))


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    if isinstance(value, list):
        return "; ".join(
            " x ".join(f"{part:g}" for part in one) if isinstance(one, list) else str(one) for one in value
        )
    return str(value or "")
