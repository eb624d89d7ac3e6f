"""`fhir-bridge serve`: all roles in one process."""

import os
import signal
import sys
import threading
from types import FrameType

import click

from fhir_bridge import log
from fhir_bridge.adapters.sql_database import NewerDatabase
from fhir_bridge.cli.options import SET_UP, configured
from fhir_bridge.compose import Parts
from fhir_bridge.errors import BridgeError
from fhir_bridge.server import Server, sole_owner
from fhir_bridge.settings import Settings

DRAIN_SECONDS = 20
SWITCH_SECONDS = 0.0005


@click.command(epilog="Example: fhir-bridge serve --data-dir data --set fhir.base_url=http://localhost:8080/fhir")
@configured
def serve(settings: Settings) -> None:
    """Take orders, work on them, show pages, until SIGTERM (drains) or a second one (stops at once)."""
    try:
        with sole_owner(settings.data_dir):
            _serve(settings)
    except (BridgeError, NewerDatabase) as error:
        click.echo(f"serve: {error}", err=True)
        sys.exit(SET_UP)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "the address is taken, or not this machine's"
        click.echo(f"serve: cannot listen: {why}; see mllp.host, mllp.port, http.host, http.port", err=True)
        sys.exit(SET_UP)


def _serve(settings: Settings) -> None:
    # SQLite gives the interpreter lock back at every statement; with the default of 5 ms the intake waits for it, not for the disk
    sys.setswitchinterval(SWITCH_SECONDS)
    stopping = threading.Event()

    def stop(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)  # asked twice: what is stored is stored, the next start takes the rest over
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server = Server(Parts(settings))
    mllp, http = server.start()
    click.echo(f"ready mllp={mllp[0]}:{mllp[1]} http={http[0]}:{http[1]} dicom=off")
    sys.stdout.flush()
    stopping.wait()
    log.event("server.draining", seconds=DRAIN_SECONDS)
    server.drain(DRAIN_SECONDS)
    log.event("server.stopped")
