"""`fhir-bridge send`: an MLLP client for files of messages and batches."""

import re
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from fhir_bridge.cli.options import SET_UP, VERDICT_FAILED, configured, print_json
from fhir_bridge.settings import Settings
from hl7_listener.batch import is_batch, read_batch
from hl7_listener.client import MllpClient, NoAcknowledgement
from hl7_listener.outcome import POSITIVE
from hl7_listener.refusal import MessageRefused
from hl7_listener.tls import client_context


@click.command(epilog="Example: fhir-bridge send order.hl7 batch.hl7 --to 127.0.0.1:2575")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--to", metavar="HOST:PORT", help="Default: mllp.host and mllp.port of the settings.")
@click.option("--tls", "tls_ca", metavar="CA.pem", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Speak TLS; the file signs the listener's certificate.")  # fmt: skip
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for each answer.")
@click.option("--json", "as_json", is_flag=True)
@configured
def send(
    settings: Settings, files: tuple[Path, ...], to: str | None, tls_ca: Path | None, timeout: float, as_json: bool
) -> None:
    """Send HL7 v2 files, on one connection, one message in flight. A batch file (FHS, BHS, or many MSH) is sent message by message.

    Exit code 1 if one was not accepted, 2 if there was no answer.
    """
    host, port = _address(to) if to else (settings.mllp.host, settings.mllp.port)
    context = _context(tls_ca) if tls_ca else None
    accepted = True
    with MllpClient(host, port, timeout, context) as client:
        for name, content in _messages(files):
            try:
                answer = client.send(content)
            except (NoAcknowledgement, MessageRefused) as error:
                click.echo(f"{name}: {error.code} at {error.where}: {error.explanation}", err=True)
                sys.exit(SET_UP)
            accepted &= answer.code in POSITIVE
            if as_json:
                print_json({"file": name, "answer": answer.code, "where": answer.location, "text": answer.text})
            else:
                click.echo(" ".join(part for part in (name, answer.code, answer.location, answer.text) if part))
    sys.exit(0 if accepted else VERDICT_FAILED)


def _address(to: str) -> tuple[str, int]:
    host, colon, port = to.rpartition(":")
    if not (colon and host and re.fullmatch("[0-9]{1,5}", port) and int(port) < 2**16):
        raise click.BadParameter("expected HOST:PORT", param_hint="--to")
    return host.strip("[]"), int(port)


def _context(ca_file: Path) -> ssl.SSLContext:
    try:
        return client_context(ca_file)
    except OSError as error:
        raise click.BadParameter(f"no authority's certificate: {type(error).__name__}", param_hint="--tls") from None


def _messages(files: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    """Each message with the name that is printed: `batch.hl7#2`."""
    for file in files:
        # files are edited with line feeds, segments end with carriage returns
        content = file.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        if not is_batch(content):
            yield str(file), content
            continue
        try:
            batch = read_batch(content)
        except MessageRefused as refused:
            click.echo(f"{file}: {refused.code} at {refused.where}: {refused.explanation}", err=True)
            sys.exit(SET_UP)
        for warning in batch.warnings:
            click.echo(f"{file}: {warning.code} at {warning.where}", err=True)
        for place, message in enumerate(batch.messages(), 1):
            yield f"{file}#{place}", message.payload
