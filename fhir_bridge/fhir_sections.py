"""The settings of the hospital's FHIR server: `[fhir]`, `[fhir.smart]`, `[fhir.server]`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from fhir_bridge.setting_types import BaseUrl, Seconds, Section, Words

WRITTEN = ("DiagnosticReport", "Observation", "ImagingStudy", "Device", "Provenance", "Communication", "Task")
_SCOPES = {  # all that the defaults use: the patient, the order and the context are read, results written, Subscriptions kept
    "rs": (
        "Patient", "ServiceRequest", "Encounter", "Condition", "AllergyIntolerance", "MedicationRequest", "MedicationStatement",
        "Procedure", "Immunization",
    ),
    "crus": ("DiagnosticReport", "Observation", "ImagingStudy", "Device", "Provenance"),
    "cruds": ("Subscription",),
}  # fmt: skip


class Smart(Section):
    """SMART Backend Services (SMART App Launch 2.2): our keys lie in `secrets/smart/`, see `fhir-bridge keys`."""

    client_id: str = Field("", description="as the server registered us")
    scopes: str = Field(
        " ".join(f"system/{kind}.{may}" for may, kinds in _SCOPES.items() for kind in kinds),
        description="asked for, blank-separated; v1 (system/*.read) and v2 spellings both go. Leave out what is not used",
    )
    token_url: BaseUrl = Field("", description="default: discovered at .well-known/smart-configuration")
    key_id: str = Field("", description="which of our keys signs; default: the oldest")
    jwks_url: str = Field("", description="sent as jku where the server wants that: the address it knows our keys by")


class ServerRules(Section):
    """What the server can do, where it differs from its `fhir.profile`. Unset: as the profile says."""

    transactions: bool | None = Field(None, description="takes transaction Bundles")
    conditional_create: bool | None = Field(None, description="knows If-None-Exist")
    version_guard: bool | None = Field(None, description="refuses an update whose If-Match is not the current version")
    history: bool | None = Field(None, description="tells deletions by TYPE/_history")
    sorts_by_change: bool | None = Field(None, description="knows _sort=_lastUpdated")
    hooks: bool | None = Field(None, description="takes Subscriptions with rest-hook channels")
    tag_filter: bool | None = Field(None, description="knows _tag:not in the criteria of a Subscription")
    ai_label: bool | None = Field(None, description="takes the security label AIAST")
    page_size: int | None = Field(None, ge=1, le=1000, description="_count that we ask for")
    not_written: Words | None = Field(None, description="resource types that it does not take from us")
    required: Words | None = Field(
        None,
        description="elements beyond R4 without which it refuses, as Observation.encounter; what lacks one is held",
    )


class Fhir(Section):
    """The hospital's FHIR server (R4)."""

    base_url: BaseUrl = ""
    profile: Literal["generic", "hapi", "sekmet", "epic", "azure", "google"] = Field(
        "generic", description="what kind of server it is: see docs/conformance/fhir.md"
    )
    server: ServerRules = ServerRules()
    auth: Literal["none", "basic", "bearer", "smart"] = "none"
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    smart: Smart = Smart()
    ca_file: Path | None = Field(None, description="PEM bundle that signs the server's certificate")
    client_certificate: Path | None = Field(None, description="PEM; ours, where the server asks for one (mTLS)")
    client_key: Path | None = Field(None, description="PEM; default: in the file of the certificate")
    allow_plaintext: bool = Field(False, description="send credentials off loopback without TLS")
    timeout_seconds: Seconds = 30
    deadline_seconds: Seconds = Field(60, description="one call with all its retries")
    max_answer_mebibytes: float = Field(32, gt=0, description="a larger answer is refused")
    circuit_failures: int = Field(5, ge=1, description="so many calls in a row without an answer: it is left alone")
    circuit_seconds: Seconds = Field(30, description="for so long; then one call tries it")
    organization_name: str = Field("fhir-bridge", description="performer of our reports")
    organization_system: str = "urn:fhir-bridge:organization"
    organization_value: str = "fhir-bridge"
    order_categories: Words = Field(
        ("363679005", "RAD", "imaging"),
        description="ServiceRequest.category codes that are imaging orders; without a category all are",
    )
    order_codes: Words = Field(
        (), description="ServiceRequest.code codes that we take, CODE or SYSTEM|CODE; empty = all"
    )
    task_orders: bool = Field(False, description="orders are placed by Task.focus, and Tasks are watched, too")
    task_codes: Words = Field((), description="Task.code codes that are ours, CODE or SYSTEM|CODE; empty = all")
    update_tasks: bool = Field(
        False, description="set the Task of an order to completed, with the report as its output"
    )
    communications: bool = Field(False, description="a Communication to the requester goes with each report")
    study_window_days: float = Field(
        7, gt=0, description="an ImagingStudy without numbers is an order's if it began within so many days of it"
    )
    catch_up_seconds: Seconds = Field(300, description="how often the server is asked for what it did not tell")
    catch_up_overlap_seconds: Seconds = Field(
        300, description="asked for again each time; longer than the server's longest transaction"
    )
    first_catch_up_hours: float = Field(0, ge=0, description="how far back the very first time; 0 = from now on")
    watch_seconds: Seconds = Field(300, description="how often our Subscriptions are looked at, and mended")
    quiet_hours: float = Field(24, gt=0, description="asked and found orders for so long, but told of none: an alarm")
