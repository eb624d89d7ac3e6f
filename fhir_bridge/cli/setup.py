"""`fhir-bridge init` and `check`: write a configuration, explain it, ping every peer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fhir_bridge.cli.filters import unknown_filters
from fhir_bridge.cli.options import SET_UP, VERDICT_FAILED, configured, parts_of, print_json
from fhir_bridge.compose import Parts
from fhir_bridge.errors import Classified, attempt
from fhir_bridge.sections import Section, Sender, SenderRule
from fhir_bridge.settings import Settings, listeners_of

if TYPE_CHECKING:
    from fhir_bridge.adapters.fhir_capability import Capabilities


@click.command(epilog="Example: fhir-bridge init --data-dir data && fhir-bridge serve --data-dir data")
@configured
def init(settings: Settings) -> None:
    """Make the data folder, its keys, its database, and a fhir-bridge.toml with every setting in it."""
    file = settings.data_dir / "fhir-bridge.toml"
    if file.exists():
        click.echo(f"{file} is there already", err=True)
        sys.exit(SET_UP)
    with parts_of(settings) as parts:
        parts.store.job_counts()
        parts.vault  # noqa: B018 - made when first asked for
        parts.hook_token  # noqa: B018
        file.write_text(toml_of(settings), encoding="utf-8")
    click.echo(f"wrote {file}; the keys in {settings.data_dir / 'secrets'} belong in a safe, apart from the backups")


def toml_of(settings: Settings) -> str:
    """Every setting with its meaning; secrets are left to the environment."""
    lines = [
        "# fhir-bridge: every setting, with its default unless you gave another. Secrets: FHIR_BRIDGE_SECTION__KEY."
    ]
    for name in type(settings).model_fields:
        section = getattr(settings, name)
        if isinstance(section, Section):
            lines += _table(name, section)
        elif isinstance(section, dict):
            lines += [line for key, named in section.items() for line in _table(f"{name}.{key}", named)]
    return "\n".join(lines) + "\n"


def _table(name: str, section: Section) -> list[str]:
    """A table of the file, and the tables inside it."""
    keys = type(section).model_fields
    inner = {key: value for key in keys if isinstance(value := getattr(section, key), Section)}
    only_given = section.model_fields_set if isinstance(section, SenderRule) else keys
    lines = ["", f"[{name}]"]
    lines += [line for key in keys if key not in inner and key in only_given and (line := _line(section, key))]
    return lines + [line for key, value in inner.items() for line in _table(f"{name}.{key}", value)]


def _line(section: Section, key: str) -> str:
    value, described = getattr(section, key), type(section).model_fields[key].description
    comment = f"  # {described}" if described else ""
    match value:
        case bool():
            return f"{key} = {str(value).lower()}{comment}"
        case int() | float():
            return f"{key} = {value}{comment}"
        case tuple():
            return f"{key} = [{', '.join(_quoted(item) for item in value)}]{comment}"
        case str() | Path():
            return f"{key} = {_quoted(str(value))}{comment}"
        case _:
            return f"# {key} ={comment}"  # not set, or a secret


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@click.command(epilog="Example: fhir-bridge check --data-dir data --json")
@click.option("--json", "as_json", is_flag=True)
@configured
def check(settings: Settings, as_json: bool) -> None:
    """Explain listeners and senders, ask every peer, load every model, say which network guard its process has.

    Exit code 1 if something is wrong.
    """
    words = explained(settings) | unknown_filters(settings.fhir)
    results = {name: (True, explanation) for name, explanation in words.items()}
    with parts_of(settings) as parts:
        for name, ask in checks_of(parts).items():
            tried = attempt(ask)
            results[name] = (
                tried.error is None,
                tried.value or "" if tried.error is None else _wrong(tried.error),
            )
    if as_json:
        print_json({name: {"ok": fine, "detail": detail} for name, (fine, detail) in results.items()})
    else:
        for name, (fine, detail) in results.items():
            click.echo(f"{'ok   ' if fine else 'WRONG'} {name}: {detail}")
    sys.exit(0 if all(fine for fine, _ in results.values()) else VERDICT_FAILED)


def _wrong(error: Classified) -> str:
    return f"{error.code} at {error.where}: {error.explanation}"


def _server_in_words(parts: Parts, said: Capabilities) -> str:
    """Its profile, what is set otherwise, and where the server says something else of itself."""
    from fhir_bridge.adapters.fhir_capability import disagreements

    fhir = parts.settings.fhir
    overrides = [f"{name}={value}" for name, value in fhir.server.model_dump(exclude_none=True).items()]
    types = f"{len(said.interactions)} resource types" if said.declared else "does not say what it can do"
    words = [types, f"auth {fhir.auth}", " ".join([f"profile {fhir.profile}", *overrides])]
    if found := disagreements(parts.traits, said):
        words.append(f"WARNING: {'; '.join(found)}")
    return ", ".join(words)


def explained(settings: Settings) -> dict[str, str]:
    """What the configuration says about each listener and each sender, in words."""
    words = {}
    for name, listener in listeners_of(settings).items():
        tls = (
            "TLS with client certificates" if listener.tls.client_ca else "TLS" if listener.tls.certificate else "plain"
        )
        peers = ", ".join(listener.allowed_peers) or "any peer"
        words[name if name == "mllp" else f"listeners.{name}"] = f"{listener.host}:{listener.port}, {tls}, {peers}"
    words["sender"] = _in_words(settings.sender, Sender.model_fields) + ", for every sender without a rule"
    for name, rule in settings.senders.items():
        known_by = [
            f"{key} {getattr(rule, key)}" for key in ("application", "facility", "listener") if getattr(rule, key)
        ]
        changed = rule.model_fields_set & Sender.model_fields.keys()
        words[f"senders.{name}"] = f"messages of {', '.join(known_by)}: {_in_words(rule, changed) or 'as every sender'}"
    return words


def _in_words(sender: Sender, keys: Collection[str]) -> str:
    """`answer=enhanced, time_zone=Europe/Berlin`: of these keys, those that have a value."""
    values = {key: getattr(sender, key) for key in Sender.model_fields if key in keys}
    shown = {key: "+".join(value) if isinstance(value, tuple) else str(value) for key, value in values.items()}
    return ", ".join(f"{key}={value}" for key, value in shown.items() if value and value != "False")


def checks_of(parts: Parts) -> dict[str, Callable[[], str]]:
    """What `check` asks, by name: each says something of it, or raises what is wrong."""

    def store() -> str:
        return f"{sum(parts.store.job_counts().values())} jobs in {parts.data_dir}"

    def fhir() -> str:
        if parts.fhir is None:
            parts.record.read("Patient/1")  # says what is missing
            return ""
        return f"{parts.fhir.base_url}, {_server_in_words(parts, parts.fhir.capabilities())}"

    def archive() -> str:
        parts.archive.ping()
        return parts.settings.archive.kind

    def models() -> str:
        verified = parts.predictor.verify(parts.settings.models.enabled)
        return f"{', '.join(verified)}; network guard of the model process: {parts.predictor.guard}"

    def destination(name: str) -> str:
        parts.mllp_destinations[name].ping()
        section = parts.settings.destinations[name]
        return f"{section.host}:{section.port}"

    own = {"store": store, "fhir": fhir, "archive": archive, "models": models}
    return own | {f"destinations.{name}": partial(destination, name) for name in parts.settings.destinations}
