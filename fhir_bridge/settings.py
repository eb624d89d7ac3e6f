"""Every setting, typed, with its unit and default. Order: command line > environment > file > default."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from fhir_bridge.fhir_sections import WRITTEN
from fhir_bridge.sections import (
    Archive,
    AuthoritySection,
    Destination,
    Dicom,
    Fhir,
    Http,
    Listener,
    Mllp,
    Models,
    Section,
    Sender,
    SenderRule,
    Store,
    Study,
    Worker,
)


class Settings(BaseSettings):
    """The whole configuration. `data_dir` holds all state."""

    model_config = SettingsConfigDict(
        env_prefix="FHIR_BRIDGE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Path("fhir-bridge-data")
    mllp: Mllp = Mllp()
    http: Http = Http()
    dicom: Dicom = Dicom()
    fhir: Fhir = Fhir()
    archive: Archive = Archive()
    store: Store = Store()
    study: Study = Study()
    models: Models = Models()
    worker: Worker = Worker()
    sender: Sender = Sender()
    senders: dict[str, SenderRule] = {}
    listeners: dict[str, Listener] = {}
    destinations: dict[str, Destination] = {}
    authority: dict[str, AuthoritySection] = {}

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Command line (init) > environment > file."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


class SettingsRefused(ValueError):
    """The configuration cannot be used. `problems` names each key and what is wrong with it, never its value."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load(data_dir: Path | None, assignments: tuple[str, ...] = (), file: Path | None = None) -> Settings:
    """Settings from `--data-dir`, `--set section.key=value` and a TOML file. Raises SettingsRefused."""
    given: dict[str, Any] = {}
    for assignment in assignments:
        _assign(given, assignment)
    if data_dir is not None:
        given["data_dir"] = data_dir
    if file is not None and not file.is_file():
        raise SettingsRefused((f"{file}: no such file",))

    class Chosen(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        settings = Chosen(**given)
    except ValidationError as error:
        raise SettingsRefused(_problems(error)) from None
    except ValueError as error:  # tomllib.TOMLDecodeError, a bad value of the environment
        raise SettingsRefused((f"{file or 'environment'}: {type(error).__name__}",)) from None
    _check(settings)
    return settings


def _problems(error: ValidationError) -> tuple[str, ...]:
    return tuple(
        f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
        for found in error.errors(include_input=False, include_url=False)
    )


def _assign(given: dict[str, Any], assignment: str) -> None:
    match = re.fullmatch(r"([a-z_]+(?:\.[A-Za-z0-9_-]+)+)=(.*)", assignment, re.DOTALL)
    if not match:
        raise SettingsRefused(("--set wants section.key=value",))
    *path, key = match[1].split(".")
    if match[1] in SECRETS:
        raise SettingsRefused(
            (f"{match[1]}: a secret comes from the environment or the file, never from the command line",)
        )
    table: dict[str, Any] = given
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise SettingsRefused((f"{match[1]}: {part} is a value, not a table",))
    table[key] = match[2]


SECRETS = frozenset(
    f"{section}.{key}"
    for section, table in Settings.model_fields.items()
    if isinstance(table.default, Section)
    for key, field in type(table.default).model_fields.items()
    if field.annotation is SecretStr
)

LOOPBACK: Mapping[str, bool] = {"127.0.0.1": True, "::1": True, "localhost": True}


def _check(settings: Settings) -> None:
    problems = [*_listener_problems(settings), *_sender_problems(settings)]
    if settings.http.host not in LOOPBACK and not settings.http.behind_tls_proxy:
        problems.append("http.host: off loopback without TLS; set http.behind_tls_proxy=true where a proxy adds it")
    if settings.archive.kind == "dicomweb" and not settings.archive.dicomweb_url:
        problems.append("archive.dicomweb_url: needed with archive.kind=dicomweb")
    problems += _dimse_problems(settings.archive)
    problems += _fhir_problems(settings.fhir)
    for name, destination in settings.destinations.items():
        if destination.host not in LOOPBACK and not (destination.use_tls or destination.allow_plaintext):
            problems.append(f"destinations.{name}.host: off loopback without TLS; set use_tls or allow_plaintext")
    if problems:
        raise SettingsRefused(tuple(problems))


def _dimse_problems(archive: Archive) -> Iterator[str]:
    for key in ("host", "port", "called_ae_title"):
        if archive.kind == "dimse" and not getattr(archive, key):
            yield f"archive.{key}: needed with archive.kind=dimse"
    if archive.tls and archive.kind != "dimse":
        yield "archive.tls: of archive.kind=dimse; a DICOMweb URL says it by https"
    if archive.client_certificate and not archive.tls:
        yield "archive.client_certificate: needs archive.tls"
    if archive.client_key and not archive.client_certificate:
        yield "archive.client_key: needs archive.client_certificate"


def _fhir_problems(fhir: Fhir) -> Iterator[str]:
    needed = {"basic": ("username", fhir.username), "smart": ("smart.client_id", fhir.smart.client_id),
              "bearer": ("token", fhir.token.get_secret_value())}  # fmt: skip
    key, value = needed.get(fhir.auth, ("", "-"))
    if not value:
        yield f"fhir.{key}: needed with fhir.auth={fhir.auth}"
    if fhir.auth == "basic" and ":" in fhir.username:
        yield "fhir.username: Basic sign-in has no names with a colon"
    if fhir.auth == "bearer" and not re.fullmatch("[!-~]*", value):
        yield "fhir.token: it has characters that no header has"
    if fhir.client_key and not fhir.client_certificate:
        yield "fhir.client_key: needs fhir.client_certificate"
    if fhir.auth != "none" and not fhir.allow_plaintext and _is_open(fhir.base_url):
        yield "fhir.base_url: credentials off loopback without TLS; use https, or set fhir.allow_plaintext"
    if _is_open(fhir.smart.token_url):
        yield "fhir.smart.token_url: off loopback without TLS"
    spared = [kind for kind in WRITTEN if kind != "DiagnosticReport"]
    if set(fhir.server.not_written or ()) - set(spared):
        yield f"fhir.server.not_written: of {', '.join(spared)}"
    if not all(re.fullmatch(rf"({'|'.join(WRITTEN)})(\.\w+)+", element) for element in fhir.server.required or ()):
        yield f"fhir.server.required: elements as Observation.encounter, of {', '.join(WRITTEN)}"


def _is_open(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK


def listeners_of(settings: Settings) -> dict[str, Listener]:
    """Every MLLP port by its name; `mllp` is the first."""
    return {"mllp": settings.mllp, **settings.listeners}


def _listener_problems(settings: Settings) -> Iterator[str]:
    taken: dict[tuple[str, int], str] = {}
    if "mllp" in settings.listeners:
        yield "listeners.mllp: this name is that of [mllp]"
    for name, listener in listeners_of(settings).items():
        where = name if name == "mllp" else f"listeners.{name}"
        if listener.host not in LOOPBACK and not (listener.tls.certificate or listener.allow_plaintext):
            yield f"{where}.host: off loopback without TLS; set {where}.tls.certificate, or allow_plaintext=true to accept that"
        if listener.tls.client_ca and not listener.tls.certificate:
            yield f"{where}.tls.client_ca: needs {where}.tls.certificate"
        yield from (
            f"{where}.allowed_peers: {peer} is no network" for peer in listener.allowed_peers if not _network(peer)
        )
        if listener.port and (other := taken.setdefault((listener.host, listener.port), where)) != where:
            yield f"{where}.port: {other} has it already"


def _sender_problems(settings: Settings) -> Iterator[str]:
    rules = {"sender": settings.sender, **{f"senders.{name}": rule for name, rule in settings.senders.items()}}
    for where, sender in rules.items():
        if sender.reply_to and sender.reply_to not in settings.destinations:
            yield f"{where}.reply_to: there is no [destinations.{sender.reply_to}]"
        if sender.unknown_orders == "refuse" and not (sender.wait_for_intake or sender.order_responses):
            yield f"{where}.unknown_orders: refuse needs wait_for_intake or order_responses, to be told"
        if not isinstance(sender, SenderRule):
            continue
        if not (sender.application or sender.facility or sender.listener):
            yield f"{where}: needs application, facility or listener, to know its messages by"
        if sender.listener and sender.listener not in {*listeners_of(settings), "folder"}:
            yield f"{where}.listener: there is no listener of this name"


def _network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
