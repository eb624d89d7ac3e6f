"""`fhir-bridge listen`: the door of HL7 v2 alone."""

import os
import sys

import click

from fhir_bridge import log
from fhir_bridge.adapters.folder_lock import DOOR, sole_owner
from fhir_bridge.cli.options import configured, parts_of
from fhir_bridge.cli.stopping import DRAIN_SECONDS, SWITCH_SECONDS, stopping_on_signals
from fhir_bridge.errors import attempt
from fhir_bridge.settings import Settings


@click.command(epilog="Example: fhir-bridge listen --data-dir data")
@click.option("--supervised", is_flag=True, hidden=True, help="As a child of `serve`, which tells it everything else.")
@configured
def listen(settings: Settings, supervised: bool) -> None:
    """Take HL7 v2 messages, keep them, answer them, and do no more: `work` or `serve` on the same data folder acts on them.

    Nobody tells this process what became of a message: senders that want to know are told that it is kept.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    if supervised:
        from fhir_bridge.roles.supervised import SupervisedListen

        life = attempt(SupervisedListen(sys.stdin.buffer, sys.stdout.buffer).run)
        if life.error is not None:
            log.event(
                "mllp.bug",
                error_id=life.error.error_id,
                code=life.error.code,
                where=life.error.where,
                frames=life.error.frames,
            )
        os._exit(1 if life.value is None else life.value)  # the thread that reads standard input cannot be waited for
    from fhir_bridge.roles.listen import Listen

    stopping = stopping_on_signals()
    with parts_of(settings) as parts, sole_owner(parts.data_dir, DOOR):
        role = Listen(parts)
        click.echo(f"ready {addresses_of(role.start())}")
        sys.stdout.flush()
        stopping.wait()
        role.drain(DRAIN_SECONDS)


def addresses_of(addresses: dict[str, tuple[str, int]]) -> str:
    """`mllp=H:P listeners.ct=H:P`."""
    named = {name if name == "mllp" else f"listeners.{name}": address for name, address in addresses.items()}
    return " ".join(f"{name}={host}:{port}" for name, (host, port) in named.items())
