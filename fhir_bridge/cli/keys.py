"""`fhir-bridge keys`: the keys that we sign in with at a FHIR server (SMART Backend Services)."""

import json

import click
from rich.table import Table

from fhir_bridge.adapters.smart_keys import ALGORITHMS
from fhir_bridge.cli.options import configured, console, parts_of, print_json
from fhir_bridge.errors import Refused
from fhir_bridge.settings import Settings


@click.group()
def keys() -> None:
    """Keys for SMART Backend Services: make one, have it registered, renew it.

    To renew: `new`; have the server learn it, from `jwks` or /.well-known/jwks.json; `retire` the old one, and the new one signs.
    A running server needs no restart.
    """


@keys.command(epilog="Example: fhir-bridge keys new --algorithm ES384 --data-dir data")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default=ALGORITHMS[0], show_default=True)
@configured
def new(settings: Settings, algorithm: str) -> None:
    """Make a key pair; prints its id. The private half stays in `secrets/smart/`."""
    with parts_of(settings) as parts:
        click.echo(parts.smart_keys.make(algorithm, parts.clock.now()).kid)


@keys.command("list", epilog="Example: fhir-bridge keys list --data-dir data --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@configured
def list_(settings: Settings, as_json: bool) -> None:
    """All keys, oldest first, and which one signs."""
    with parts_of(settings) as parts:
        found = parts.smart_keys.all()
    wanted = settings.fhir.smart.key_id
    table = Table("kid", "algorithm", "signs", "file")
    for number, key in enumerate(found):
        signs = key.kid == wanted if wanted else number == 0
        if as_json:
            print_json({"kid": key.kid, "algorithm": key.algorithm, "signs": signs, "file": key.file.name})
        table.add_row(key.kid, key.algorithm, "yes" if signs else "no", key.file.name)
    if not as_json:
        console().print(table)


@keys.command("jwks", epilog="Example: fhir-bridge keys jwks --data-dir data > jwks.json")
@configured
def jwks_(settings: Settings) -> None:
    """The public halves as a JWK Set, for the server that registers us. It is the one at /.well-known/jwks.json."""
    with parts_of(settings) as parts:
        click.echo(json.dumps(parts.smart_keys.public(), indent=2))


@keys.command(
    epilog="Example: fhir-bridge keys retire KID --data-dir data",
    context_settings={"ignore_unknown_options": True},  # an id may begin with a dash
)
@click.argument("kid", metavar="KID")
@configured
def retire(settings: Settings, kid: str) -> None:
    """Destroy a key: it is no longer published. The only one, and the one that `fhir.smart.key_id` names, stay."""
    with parts_of(settings) as parts:
        if kid == settings.fhir.smart.key_id:
            raise Refused("fhir.key-missing", "fhir.smart.key_id", "it names this key: set another one first")
        parts.smart_keys.retire(kid)
        click.echo(f"retired {kid}")
