"""The tables of the configuration: every setting, typed, with its unit and default. `settings.py` reads them from file and environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from fhir_bridge.fhir_sections import Fhir
from fhir_bridge.setting_types import AeTitle, BaseUrl, Charset, FieldSources, Port, Seconds, Section, TimeZone, Words

__all__ = [
    "Archive", "AuthoritySection", "ClientTls", "Destination", "Dicom", "Fhir", "Http", "Listener", "Mllp", "Models", "Section", "Sender",
    "SenderRule", "Store", "Study", "Tls", "Worker",
]  # fmt: skip


class Tls(Section):
    """TLS of a listener. The files are read again when they change, without a restart."""

    certificate: Path | None = Field(None, description="PEM; the listener speaks TLS where it is set")
    key: Path | None = Field(None, description="PEM; default: in the file of the certificate")
    client_ca: Path | None = Field(None, description="PEM; peers must show a certificate that it signs (mTLS)")


class ClientTls(Section):
    """TLS towards a destination."""

    ca_file: Path | None = Field(None, description="PEM; signs the destination's certificate; default: the system's")
    certificate: Path | None = Field(None, description="PEM; ours, where the destination asks for one (mTLS)")
    key: Path | None = Field(None, description="PEM; default: in the file of the certificate")


class Listener(Section):
    """One MLLP port. `[mllp]` is the first; `[listeners.NAME]` adds more, each for one feed."""

    host: str = "127.0.0.1"
    port: Port = Field(2575, description="0 takes a free port; the ready line says which")
    application: str = Field("FHIR-BRIDGE", description="our name in MSH-3 of an acknowledgement")
    facility: str = Field("", description="our name in MSH-4 of an acknowledgement")
    allow_plaintext: bool = Field(False, description="listen off loopback without TLS")
    tls: Tls = Tls()
    allowed_peers: Words = Field((), description="addresses or networks (10.1.0.0/16) that may connect; empty = all")
    max_message_mebibytes: float = Field(50, gt=0)
    max_buffered_mebibytes: float = Field(512, gt=0, description="unfinished messages of all connections together")
    max_connections: int = Field(512, ge=1)
    max_connections_per_peer: int = Field(64, ge=1, description="from one address")
    max_partial_age_seconds: float = Field(300, ge=0, description="an unfinished message older than this; 0 = never")
    idle_timeout_seconds: float = Field(0, ge=0, description="0 = never: senders are silent all night")
    write_timeout_seconds: float = Field(60, ge=0, description="a peer that does not read its answers; 0 = never")
    replace_on_reconnect: bool = Field(False, description="a new connection of an address ends its older idle ones")
    bare_messages: bool = Field(False, description="take messages without the start block character (raw MSH ... FS)")
    mllp_release: Literal[1, 2] = Field(1, description="2 adds the commit acknowledgement blocks of MLLP Release 2")
    close_after_oversize: bool = Field(False, description="end the connection after a message that is too large")


class Mllp(Listener):
    """The door of HL7 v2."""

    drop_folder: Path | None = Field(None, description="files of messages or batches put here are taken in, too")


class Http(Section):
    """Hooks, pages, health, metrics."""

    host: str = "127.0.0.1"
    port: Port = 8765
    public_url: str = Field("", description="how the FHIR server reaches us; default: http://host:port")
    behind_tls_proxy: bool = Field(False, description="listen off loopback without TLS")
    max_body_mebibytes: float = Field(10, gt=0)
    hook_token: SecretStr = Field(SecretStr(""), description="bearer of the hooks; default: made once in secrets/")
    previous_hook_token: SecretStr = Field(
        SecretStr(""), description="also taken: the old one, until every Subscription has the new one"
    )
    threads: int = Field(20, ge=1, description="calls that are served at once; each waits for its commit")


class Dicom(Section):
    """Our own DICOM node. It only asks (archive.kind=dimse); a port of our own is not built yet: `serve` prints dicom=off."""

    port: Port = 11112
    ae_title: AeTitle = Field("FHIRBRIDGE", min_length=1)


class Archive(Section):
    """The PACS."""

    kind: Literal["folder", "dicomweb", "dimse"] = "folder"
    folder: Path | None = Field(None, description="default: pacs/ in the data folder")
    dicomweb_url: BaseUrl = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    host: str = Field("", description="DIMSE; our own AE title is dicom.ae_title")
    port: Port = Field(104, description="DIMSE")
    called_ae_title: AeTitle = Field("", description="the archive's own AE title")
    tls: bool = Field(False, description="DIMSE over TLS; its certificate must name archive.host")
    ca_file: Path | None = Field(None, description="PEM bundle that signs the archive's certificate")
    client_certificate: Path | None = Field(None, description="PEM; ours, where the archive asks for one (mTLS)")
    client_key: Path | None = Field(None, description="PEM; default: in the file of the certificate")
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
    """What senders of HL7 v2 do and how they want to be answered: the defaults for all."""

    time_zone: TimeZone = Field("UTC", description="of times without a zone")
    charset: Charset = Field("", description="of messages that declare none in MSH-18 and are not UTF-8: cp1252, say")
    strict_charset: bool = Field(False, description="refuse (AE) a message whose bytes contradict its MSH-18")
    accession_sources: FieldSources = Field(
        ("IPC-1", "OBR-18"), description="fields that may carry it, best first; Z fields too"
    )
    study_uid_sources: FieldSources = Field(
        ("IPC-3", "ZDS-1"), description="fields that may carry it, best first; Z fields too"
    )
    patient_authority: str = Field("", description="PID-3.4.1 preferred among several identifiers")
    processing_ids: Words = Field(("P", ""), description="MSH-11 values that are accepted; empty = not sent")
    versions: Words = Field((), description="MSH-12 values that are accepted; empty = 2.1 to 2.9.1")
    unknown_versions: Literal["refuse", "nearest"] = Field(
        "refuse", description="nearest: read as the nearest lower one"
    )
    unsupported: Literal["refuse", "accept"] = Field(
        "refuse", description="messages of a type or event that we do not act on; accept: AA, kept, no effect"
    )
    permanent_refusals: Literal["answer", "accept"] = Field(
        "answer", description="accept: AA all the same, kept as refused, so that a strict queue moves"
    )
    own_trouble: Literal["AR", "AE"] = Field(
        "AR", description="the code for trouble of our own, where AR stops a sender"
    )
    orders_without_orc: Literal["new", "refuse"] = "new"
    unknown_orders: Literal["accept", "refuse"] = Field(
        "accept", description="a cancel or change of an order we do not know; refuse: AE 204, needs wait_for_intake"
    )
    answer: Literal["original", "enhanced"] = Field("original", description="enhanced: CA, CE, CR by MSH-15 and MSH-16")
    reply_to: str = Field("", description="name of the destination of application acknowledgements (enhanced mode)")
    order_responses: bool = Field(False, description="ORR, ORG, ORI with one ORC an order; the answer waits for intake")
    wait_for_intake: bool = Field(False, description="answer only after the message had its effect on the jobs")
    acknowledgement_type: Literal["full", "short"] = Field("full", description="short: MSH-9 of answers is ACK alone")
    batch_answers: Literal["batch", "each", "errors"] = Field(
        "batch",
        description="to FHS/BHS in one block: one batch of answers, one answer a message, or a batch of refusals alone",
    )
    sequence_numbers: bool = Field(False, description="MSH-13 and MSA-4: the sequence number protocol is agreed")


class SenderRule(Sender):
    """The rules of one sender: what differs from `[sender]`. It is chosen by MSH-3, MSH-4 and listener; empty = any."""

    application: str = Field("", description="MSH-3, as sent or its first component")
    facility: str = Field("", description="MSH-4, as sent or its first component")
    listener: str = Field("", description="mllp, folder (mllp.drop_folder), or the name of a listener")


class Destination(Section):
    """A system that takes HL7 v2 from us by MLLP."""

    host: str
    port: Port
    tls: ClientTls = ClientTls()
    use_tls: bool = False
    allow_plaintext: bool = Field(False, description="send off loopback without TLS")
    application: str = Field("", description="MSH-5 of our messages")
    facility: str = Field("", description="MSH-6 of our messages")
    version: Literal["2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8"] = "2.5.1"
    charset: Literal["ASCII", "UNICODE UTF-8", "8859/1"] = "UNICODE UTF-8"
    results: bool = Field(False, description="send ORU^R01 of each finished job here")
    timeout_seconds: Seconds = Field(30, description="for the answer to one message")
    refused: Literal["hold", "skip"] = Field(
        "hold",
        description="after AE or CR: hold the job for a person, or note it and go on; after AR or CE it is sent again",
    )
