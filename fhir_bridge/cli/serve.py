"""`fhir-bridge serve`: all roles. `fhir-bridge work`: all but the doors."""

import os
import sys

import click

from fhir_bridge import log
from fhir_bridge.adapters.folder_lock import JOBS, sole_owner
from fhir_bridge.cli.listen import addresses_of
from fhir_bridge.cli.options import SET_UP, configured, parts_of
from fhir_bridge.cli.stopping import DRAIN_SECONDS, SWITCH_SECONDS, end, stopping_on_signals
from fhir_bridge.errors import BridgeError
from fhir_bridge.server import Server
from fhir_bridge.settings import Settings


@click.command(epilog="Example: fhir-bridge serve --data-dir data --set fhir.base_url=http://localhost:8080/fhir")
@configured
def serve(settings: Settings) -> None:
    """Take orders, work on them, show pages, until SIGTERM (drains) or a second one (stops at once)."""
    try:
        with sole_owner(settings.data_dir, JOBS):
            _serve(settings)
        end()
    except BridgeError as error:
        click.echo(f"serve: {error}", err=True)
        end(SET_UP)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "the address is taken, or not this machine's"
        click.echo(f"serve: cannot listen: {why}; see http.host, http.port", err=True)
        end(SET_UP)


def _serve(settings: Settings) -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    stopping = stopping_on_signals()
    server = Server(settings)
    doors, http = server.start()
    first, *others = addresses_of(doors).split()
    click.echo(" ".join(["ready", first, f"http={http[0]}:{http[1]}", "dicom=off", *others]))
    sys.stdout.flush()
    stopping.wait()
    log.event("server.draining", seconds=DRAIN_SECONDS)
    server.drain(DRAIN_SECONDS)
    log.event("server.stopped")


@click.command(epilog="Example: fhir-bridge work --data-dir data")
@configured
def work(settings: Settings) -> None:
    """Act on the messages that `listen` keeps in the same data folder, and work on the jobs; no door, no pages."""
    from fhir_bridge.roles.work import Work

    stopping = stopping_on_signals()
    with parts_of(settings) as parts, sole_owner(parts.data_dir, JOBS):
        log.event("server.take-over", count=parts.queue.take_over())
        role = Work(parts)
        role.start()
        click.echo("ready")
        sys.stdout.flush()
        stopping.wait()
        role.drain(DRAIN_SECONDS)
    end()
