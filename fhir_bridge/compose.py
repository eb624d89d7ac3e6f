"""The composition root: builds the adapters from the settings and hands them out. Knows everyone.

What a verb does not use is not imported: DICOM, FHIR and PDF libraries cost two seconds that `jobs list` does not have to wait for,
and the door (`listen`) does without SQLAlchemy, too. Hence the imports inside the properties.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fhir_bridge.adapters.sqlite_journal import SqliteJournal, applied_up_to
from fhir_bridge.intake import IntakePolicy
from fhir_bridge.sections import Destination, Sender, SenderRule
from fhir_bridge.senders import SenderRules, Senders
from fhir_bridge.server_traits import ServerTraits, traits_of
from fhir_bridge.settings import Settings, listeners_of
from mappings.authority import Authorities, Authority
from mappings.hl7v2_order import SenderPolicy

if TYPE_CHECKING:
    from requests.auth import AuthBase

    from fhir_bridge.adapters.artifact_folder import ArtifactFolder
    from fhir_bridge.adapters.fhir_client import FhirClient
    from fhir_bridge.adapters.local_predictor import LocalPredictor
    from fhir_bridge.adapters.mllp_destination import MllpDestination
    from fhir_bridge.adapters.smart_keys import SmartKeys
    from fhir_bridge.adapters.sql_database import SqlDatabase
    from fhir_bridge.adapters.sql_store import SqlStore
    from fhir_bridge.adapters.sqlite_queue import SqliteQueue
    from fhir_bridge.changes import ChangeFeed
    from fhir_bridge.deid.pseudonym import ProjectKeys
    from fhir_bridge.deid.vault import Vault
    from fhir_bridge.flow import Kit
    from fhir_bridge.ports import ClinicalRecord, ImageArchive, ReportDelivery
    from mappings.hl7v2_report import Receiver


class SystemClock:
    """`ports.Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class Parts:
    """Every adapter of one configuration, built when first asked for. `close` gives back what was built."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.data_dir = settings.data_dir.absolute()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)

    @cached_property
    def database(self) -> SqlDatabase:
        """Migrated to this program's schema. Raises NewerDatabase."""
        from fhir_bridge.adapters.sql_database import SqlDatabase

        url = self.settings.store.url
        database = SqlDatabase(url) if url else SqlDatabase.in_folder(self.data_dir / "phi")
        database.migrate()
        return database

    @cached_property
    def store(self) -> SqlStore:
        from fhir_bridge.adapters.sql_store import SqlStore

        return SqlStore(self.database, self.clock)

    @cached_property
    def queue(self) -> SqliteQueue:
        from fhir_bridge.adapters.sqlite_queue import SqliteQueue

        worker = self.settings.worker
        return SqliteQueue(self.database, self.clock, worker.lease_seconds, worker.max_losses)

    @cached_property
    def artifacts(self) -> ArtifactFolder:
        from fhir_bridge.adapters.artifact_folder import ArtifactFolder

        return ArtifactFolder(self.data_dir)

    @cached_property
    def authorities(self) -> Authorities:
        rows = self.settings.authority.items()
        return Authorities(tuple(Authority(name, rule.oid, rule.system) for name, rule in rows))

    @cached_property
    def journal(self) -> SqliteJournal:
        folder, url = self.data_dir / "phi", self.settings.store.url
        store = Path(url.removeprefix("sqlite:///")) if url else folder / "bridge.db"
        return SqliteJournal(folder / "journal.db", self.clock, applied_up_to(store))

    @cached_property
    def policy(self) -> IntakePolicy:
        settings = self.settings
        default = sender_rules("", settings.sender, self.authorities)
        named = [
            sender_rules(name, overriding(settings.sender, rule), self.authorities)
            for name, rule in settings.senders.items()
        ]
        names = {name: (door.application, door.facility) for name, door in listeners_of(settings).items()}
        fhir = settings.fhir
        return IntakePolicy(
            Senders(default, named),
            frozenset(fhir.order_categories),
            names,
            frozenset(fhir.order_codes),
            task_orders=fhir.task_orders,
            task_codes=frozenset(fhir.task_codes),
            study_window_days=fhir.study_window_days,
        )

    @cached_property
    def fhir(self) -> FhirClient | None:
        """None where no server is configured."""
        from fhir_bridge.fhir_parts import client_of

        fhir = self.settings.fhir
        return client_of(fhir, self.traits, self.smart_keys) if fhir.base_url else None

    @cached_property
    def traits(self) -> ServerTraits:
        """What the FHIR server can do, by its profile and what the settings know better."""
        fhir = self.settings.fhir
        return traits_of(fhir.profile, fhir.server.model_dump(exclude_none=True))

    @cached_property
    def smart_keys(self) -> SmartKeys:
        from fhir_bridge.adapters.smart_keys import SmartKeys

        return SmartKeys(self.data_dir / "secrets" / "smart")

    @cached_property
    def record(self) -> ClinicalRecord:
        from fhir_bridge.adapters.fhir_server import FhirServerRecord
        from fhir_bridge.adapters.not_configured import NoFhirServer

        return FhirServerRecord(self.fhir) if self.fhir else NoFhirServer()

    @cached_property
    def changes(self) -> ChangeFeed | None:
        """None where no FHIR server is configured."""
        from fhir_bridge.adapters.fhir_changes import FhirChanges

        return FhirChanges(self.fhir, self.traits) if self.fhir else None

    @cached_property
    def deliveries(self) -> tuple[ReportDelivery, ...]:
        """The FHIR server, then every destination of results by HL7 v2."""
        from fhir_bridge.adapters.hl7_delivery import Hl7Delivery
        from fhir_bridge.fhir_parts import delivery_of

        by_fhir = [delivery_of(self.settings.fhir, self.fhir, self.traits)] if self.fhir else []
        by_hl7 = [
            Hl7Delivery(self.mllp_destinations[name], self._receiver(name, to), skip_refused=to.refused == "skip")
            for name, to in self.settings.destinations.items()
            if to.results
        ]
        return (*by_fhir, *by_hl7)

    @cached_property
    def mllp_destinations(self) -> dict[str, MllpDestination]:
        """By name; results and application acknowledgements to one share its connection."""
        from fhir_bridge.adapters.mllp_destination import destination_of

        return {name: destination_of(name, section) for name, section in self.settings.destinations.items()}

    def _receiver(self, name: str, to: Destination) -> Receiver:
        from mappings.hl7v2_report import Receiver

        ours, zone = self.settings.mllp, self.settings.sender.time_zone
        return Receiver(
            name, to.version, to.charset, to.application, to.facility, ours.application, ours.facility, zone, self.authorities
        )  # fmt: skip

    @cached_property
    def archive(self) -> ImageArchive:
        from fhir_bridge.adapters.dicom_folder import DicomFolder
        from fhir_bridge.adapters.dicomweb import BearerToken, DicomWeb

        archive = self.settings.archive
        if archive.kind == "folder":
            folder = archive.folder or self.data_dir / "pacs"
            if archive.folder is None:
                folder.mkdir(parents=True, exist_ok=True)
            return DicomFolder(folder)
        if archive.kind == "dimse":
            from fhir_bridge.adapters.dimse import dimse_of

            return dimse_of(archive, self.settings.dicom.ae_title)
        auth: AuthBase | tuple[str, str] | None = None
        if archive.username:
            auth = (archive.username, archive.password.get_secret_value())
        elif token := archive.token.get_secret_value():
            auth = BearerToken(token)
        verify = str(archive.ca_file) if archive.ca_file else True
        return DicomWeb(archive.dicomweb_url, auth, archive.timeout_seconds, verify=verify)

    @cached_property
    def keys(self) -> ProjectKeys:
        from fhir_bridge.deid.pseudonym import ProjectKeys
        from fhir_bridge.deid.sealing import load_or_create_key

        return ProjectKeys(load_or_create_key(self.data_dir / "secrets" / "project.key"))

    @cached_property
    def vault(self) -> Vault:
        from fhir_bridge.deid.sealing import load_or_create_key
        from fhir_bridge.deid.vault import Vault

        return Vault(self.data_dir / "phi" / "vault.db", load_or_create_key(self.data_dir / "secrets" / "vault.key"))

    @cached_property
    def predictor(self) -> LocalPredictor:
        from fhir_bridge.adapters.local_predictor import LocalPredictor

        models = self.settings.models
        return LocalPredictor(timeout_seconds=models.timeout_seconds)

    @cached_property
    def kit(self) -> Kit:
        from fhir_bridge.flow import Kit, Patience

        study = self.settings.study
        return Kit(
            record=self.record,
            archive=self.archive,
            predictor=self.predictor,
            deliveries=self.deliveries,
            store=self.store,
            artifacts=self.artifacts,
            keys=self.keys,
            vault=self.vault,
            clock=self.clock,
            models=self.settings.models.enabled,
            patience=Patience(study.quiet_seconds, study.poll_seconds, study.deadline_seconds),
        )

    @cached_property
    def hook_token(self) -> str:
        """The bearer of the hooks: as configured, else made once and kept in `secrets/hook.token`."""
        configured = self.settings.http.hook_token.get_secret_value()
        return configured or _token_in(self.data_dir / "secrets" / "hook.token")

    def close(self) -> None:
        """Processes, connections and files of the parts that were built."""
        built = self.__dict__
        for destination in built.get("mllp_destinations", {}).values():
            destination.close()
        for name in ("predictor", "fhir", "vault", "journal", "database"):
            part = built.get(name)
            if part is not None:
                part.close()


def overriding(default: Sender, rule: SenderRule) -> SenderRule:
    """The rule of one sender: what it says, and for the rest what holds for all."""
    return SenderRule(**{**default.model_dump(), **rule.model_dump(exclude_unset=True)})


def sender_rules(name: str, sender: Sender, authorities: Authorities) -> SenderRules:
    """The settings of a sender as the rules that judge its messages."""
    named = sender if isinstance(sender, SenderRule) else SenderRule()
    mapping = SenderPolicy(
        authorities,
        time_zone=sender.time_zone,
        accession_sources=sender.accession_sources,
        patient_authority=sender.patient_authority,
        study_uid_sources=sender.study_uid_sources,
        orders_without_orc=sender.orders_without_orc,
    )
    return SenderRules(
        name=name,
        application=named.application,
        facility=named.facility,
        listener=named.listener,
        mapping=mapping,
        charset_default=sender.charset,
        strict_charset=sender.strict_charset,
        processing_ids=frozenset(sender.processing_ids),
        versions=frozenset(sender.versions),
        unknown_versions=sender.unknown_versions,
        unsupported=sender.unsupported,
        permanent_refusals=sender.permanent_refusals,
        own_trouble=sender.own_trouble,
        unknown_orders=sender.unknown_orders,
        answer=sender.answer,
        reply_to=sender.reply_to,
        order_responses=sender.order_responses,
        wait_for_intake=sender.wait_for_intake,
        acknowledgement_type=sender.acknowledgement_type,
        batch_answers=sender.batch_answers,
        sequence_numbers=sender.sequence_numbers,
    )


def _token_in(path: Path) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(32), encoding="ascii")
        draft.replace(path)
    return path.read_text(encoding="ascii").strip()
