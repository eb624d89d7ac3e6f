"""Every setting, typed, with its unit and default. Order: command line > environment > file > default."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]  # a list in TOML, comma-separated on the command line


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("no such time zone") from None
    return name


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    usable = (
        parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment or parts.username)
    )
    if url and not usable:
        raise ValueError("a base URL is http(s)://host[:port]/path, without credentials or query")
    return url


TimeZone = Annotated[str, AfterValidator(_zone)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A table of the file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Mllp(Section):
    """The door of HL7 v2."""

    host: str = "127.0.0.1"
    port: Port = Field(2575, description="0 takes a free port; the ready line says which")
    application: str = Field("FHIR-BRIDGE", description="our name in MSH-3 of an acknowledgement")
    facility: str = Field("", description="our name in MSH-4 of an acknowledgement")
    allow_plaintext: bool = Field(False, description="listen off loopback without TLS")
    max_message_mebibytes: float = Field(50, gt=0)
    idle_timeout_seconds: float = Field(0, ge=0, description="0 = never: senders are silent all night")
    processing_ids: Words = Field(("P", ""), description="MSH-11 values that are accepted; empty = not sent")


class Http(Section):
    """Hooks, pages, health, metrics."""

    host: str = "127.0.0.1"
    port: Port = 8765
    public_url: str = Field("", description="how the FHIR server reaches us; default: http://host:port")
    behind_tls_proxy: bool = Field(False, description="listen off loopback without TLS")
    max_body_mebibytes: float = Field(10, gt=0)
    hook_token: SecretStr = Field(SecretStr(""), description="bearer of the hooks; default: made once in secrets/")
    threads: int = Field(8, ge=1)


class Dicom(Section):
    """Our own DICOM node. Not built yet: the keys are reserved, `serve` prints dicom=off."""

    port: Port = 11112
    ae_title: str = "FHIRBRIDGE"


class Fhir(Section):
    """The hospital's FHIR server (R4)."""

    base_url: BaseUrl = ""
    auth: Literal["none", "basic", "bearer"] = "none"
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    ca_file: Path | None = Field(None, description="PEM bundle that signs the server's certificate")
    timeout_seconds: Seconds = 30
    deadline_seconds: Seconds = Field(60, description="one call with all its retries")
    organization_name: str = Field("fhir-bridge", description="performer of our reports")
    organization_system: str = "urn:fhir-bridge:organization"
    organization_value: str = "fhir-bridge"
    order_categories: Words = Field(
        ("363679005", "RAD", "imaging"),
        description="ServiceRequest.category codes that are imaging orders; without a category all are",
    )


class Archive(Section):
    """The PACS."""

    kind: Literal["folder", "dicomweb"] = "folder"
    folder: Path | None = Field(None, description="default: pacs/ in the data folder")
    dicomweb_url: BaseUrl = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    ca_file: Path | None = Field(None, description="PEM bundle that signs the archive's certificate")
    timeout_seconds: Seconds = 60


class Store(Section):
    """Where orders, jobs and messages are kept."""

    url: str = Field("", pattern=r"^(sqlite:///.+)?$", description="default: SQLite in the data folder")


class Study(Section):
    """When a study is complete (DESIGN §6)."""

    quiet_seconds: Seconds = Field(60, description="unchanged for so long = complete")
    poll_seconds: Seconds = 15
    deadline_seconds: Seconds = Field(7200, description="no complete study after so long: the job is held")


class Models(Section):
    """Which models may run."""

    enabled: Words = Field(("xray_pneumonia",), min_length=1)
    timeout_seconds: Seconds = 120


class Worker(Section):
    """How jobs are worked on."""

    threads: int = Field(2, ge=1)
    lease_seconds: Seconds = 300
    max_attempts: int = Field(
        300, ge=1, description="of one step, before the job is a dead letter; by default about a day"
    )
    max_losses: int = Field(50, ge=1, description="times a step may be cut off by a dying process")
    backoff_seconds: Seconds = Field(2, description="doubles with each attempt")
    backoff_cap_seconds: Seconds = 300


class AuthoritySection(Section):
    """An assigning authority: its OID, its FHIR identifier system, or both."""

    oid: str = Field("", pattern=r"^[0-9.]*$")
    system: str = ""


class Sender(Section):
    """What senders of orders do (one policy for all senders for now)."""

    time_zone: TimeZone = Field("UTC", description="of times without a zone")
    charset: str = Field("", description="of messages that declare none in MSH-18 and are not UTF-8: cp1252, say")
    accession_sources: Words = ("IPC-1", "OBR-18")
    patient_authority: str = Field("", description="PID-3.4.1 preferred among several identifiers")


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
    problems = []
    if settings.mllp.host not in LOOPBACK and not settings.mllp.allow_plaintext:
        problems.append("mllp.host: off loopback without TLS; set mllp.allow_plaintext=true to accept that")
    if settings.http.host not in LOOPBACK and not settings.http.behind_tls_proxy:
        problems.append("http.host: off loopback without TLS; set http.behind_tls_proxy=true where a proxy adds it")
    if settings.archive.kind == "dicomweb" and not settings.archive.dicomweb_url:
        problems.append("archive.dicomweb_url: needed with archive.kind=dicomweb")
    if problems:
        raise SettingsRefused(tuple(problems))
