"""What every verb takes: the data folder, single settings, a file. And how a verb says what went wrong."""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from fhir_bridge import log
from fhir_bridge.compose import Parts
from fhir_bridge.errors import BridgeError
from fhir_bridge.settings import Settings, SettingsRefused, load

VERDICT_FAILED, SET_UP = 1, 2


def configured(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--data-dir`, `--set`, `--config` to a verb and gives it `settings`."""

    @click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="All state lives here.")
    @click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting; repeatable.")
    @click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="A TOML file (see `init`).")
    @functools.wraps(verb)
    def with_settings(data_dir: Path | None, assignments: tuple[str, ...], config: Path | None, **others: Any) -> Any:
        log.configure()
        return verb(settings=_settings(data_dir, assignments, config), **others)

    return with_settings


def _settings(data_dir: Path | None, assignments: tuple[str, ...], config: Path | None) -> Settings:
    if config is None and data_dir is not None and (data_dir / "fhir-bridge.toml").is_file():
        config = data_dir / "fhir-bridge.toml"
    try:
        return load(data_dir, assignments, config)
    except SettingsRefused as refused:
        for problem in refused.problems:
            click.echo(f"configuration: {problem}", err=True)
        sys.exit(SET_UP)


@contextmanager
def parts_of(settings: Settings) -> Iterator[Parts]:
    """The parts of a verb that ends by itself. Errors of ours become one line and exit code 2."""
    parts = Parts(settings)
    try:
        yield parts
    except BridgeError as error:
        click.echo(f"{click.get_current_context().info_name}: {error}", err=True)
        sys.exit(SET_UP)
    finally:
        parts.close()


def console() -> Console:
    """For tables: as wide as the terminal, and wide enough in a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def print_json(value: object) -> None:
    """One JSON value on one line."""
    click.echo(json.dumps(value, ensure_ascii=False))
