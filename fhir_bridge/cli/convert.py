"""`fhir-bridge convert`: HL7 v2 orders and ADT messages as FHIR transaction Bundles, and why each element is as it is."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl

import click

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.cli.options import SET_UP, VERDICT_FAILED, configured, parts_of, print_json
from fhir_bridge.errors import Refused
from fhir_bridge.senders import SenderRules, Senders
from fhir_bridge.settings import Settings
from hl7_listener.batch import is_batch, read_batch
from hl7_listener.message import Message
from hl7_listener.refusal import MessageRefused
from mappings.fhir_elements import Json
from mappings.fhir_transaction import searches
from mappings.hl7v2_bundle import Converted
from mappings.hl7v2_bundle import convert as bundle_of
from mappings.refusal import MappingRefused


@click.command(
    epilog="Example: fhir-bridge convert order.hl7 --set authority.HOSP.system=urn:oid:1.2.3 --set sender.time_zone=Europe/Berlin"
)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--trace", is_flag=True, help="Print which element came from which field by which rule; no values.")
@click.option("--present", is_flag=True, help="Ask fhir.base_url what it has: what a message leaves empty stays there.")
@click.option("--listener", default="mllp", show_default=True, help="The rules of senders at this listener hold.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@configured
def convert(
    settings: Settings, files: tuple[Path, ...], trace: bool, present: bool, listener: str, as_json: bool
) -> None:
    """Print ORM^O01, OMG^O19, OMI^O23 and ADT messages as FHIR R4 transaction Bundles. A batch file makes one Bundle a message.

    Nothing is sent. Authorities, time zone and the other rules of the message's sender are those of the settings. The output identifies
    patients. Exit code 1 if a message was refused.
    """
    refused = False
    with parts_of(settings) as parts:
        if present and parts.fhir is None:
            click.echo("convert: --present needs fhir.base_url", err=True)
            sys.exit(SET_UP)
        for name, content in _messages(files):
            try:
                rules, message = _read(content, parts.policy.senders, listener)
                converted = bundle_of(message, rules.mapping)
                if present and parts.fhir is not None:
                    converted = bundle_of(message, rules.mapping, _known(parts.fhir, converted.bundle))
            except (MappingRefused, MessageRefused, _Ambiguous) as error:
                click.echo(f"{name}: {error.code} at {error.where}: {error.explanation}", err=True)
                refused = True
                continue
            _print(name, converted, trace=trace, as_json=as_json)
    sys.exit(VERDICT_FAILED if refused else 0)


class _Ambiguous(Refused):
    """Several resources of the server have one identifier: a person must look."""


def _messages(files: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    """Each message with the name that is printed: `batch.hl7#2`. A file that only looks like a batch is one message, and refused."""
    for file in files:
        content = file.read_bytes()
        try:
            batch = read_batch(content) if is_batch(content) else None
        except MessageRefused:
            batch = None
        if batch is None:
            yield str(file), content
        else:
            for place, message in enumerate(batch.messages(), 1):
                yield f"{file}#{place}", message.payload


def _read(content: bytes, senders: Senders, listener: str) -> tuple[SenderRules, Message]:
    """The message, read by the rules of its sender. Raises MessageRefused."""
    rules = senders.rules_for(listener, Message(content).header)
    return rules, Message(content, rules.charset_default)


def _known(fhir: FhirClient, bundle: Json) -> Mapping[str, Json]:
    """What the server has of the Bundle's resources, by the searches that find them."""
    known: dict[str, Json] = {}
    for search in searches(bundle):
        kind, _, query = search.partition("?")
        found = fhir.search(kind, tuple(parse_qsl(query)), limit=2)
        if len(found) > 1:
            raise _Ambiguous("bundle.identity-ambiguous", kind, "several resources of the server have this identifier")
        if found:
            known[search] = dict(found[0])
    return known


def _print(name: str, converted: Converted, *, trace: bool, as_json: bool) -> None:
    if trace and as_json:
        print_json(
            {"file": name, "trace": [{"element": element, "source": source} for element, source in converted.trace]}
        )
    elif trace:
        click.echo(f"{name}:")
        for element, source in converted.trace:
            click.echo(f"  {element} <- {source}")
    elif as_json:
        print_json(converted.bundle)
    else:
        click.echo(json.dumps(converted.bundle, ensure_ascii=False, indent=2))
