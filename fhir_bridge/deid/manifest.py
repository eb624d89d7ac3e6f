"""The record of one crossing: what was done by which rules, and the digests of what came out. No plaintext of the patient."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fhir_bridge.deid.dicom import POLICY
from fhir_bridge.deid.verify import TABLE_EDITION
from fhir_bridge.errors import Refused

_FORMAT = "fhir-bridge de-identification manifest 1"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A released file: its name, its SHA-256, and a keyed digest of the original it was made from."""

    name: str
    sha256: str
    original: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One crossing. `actions` counts (path, action) pairs; `skipped` counts objects beside the images by SOP Class name."""

    job: str
    project: str
    study_instance_uid: str
    files: tuple[ManifestFile, ...]
    skipped: Mapping[str, int]
    actions: Mapping[tuple[str, str], int] = field(repr=False)
    context: Mapping[str, Any] = field(repr=False)

    def to_json(self) -> bytes:
        """Deterministic JSON: the same crossing gives the same bytes."""
        content = {
            "format": _FORMAT,
            "policy": POLICY,
            "table": f"PS3.15 Table E.1-1 {TABLE_EDITION}",
            "job": self.job,
            "project": self.project,
            "study_instance_uid": self.study_instance_uid,
            "files": [{"name": file.name, "sha256": file.sha256, "original": file.original} for file in self.files],
            "skipped": dict(self.skipped),
            "actions": [[path, action, count] for (path, action), count in sorted(self.actions.items())],
            "context": self.context,
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def read_manifest(content: bytes) -> Manifest:
    """The manifest back from its bytes. Raises Refused `deid.tampered`."""
    try:
        found = json.loads(content)
        if found["format"] != _FORMAT:
            raise tampered("manifest")
        files = tuple(ManifestFile(file["name"], file["sha256"], file["original"]) for file in found["files"])
        actions: Counter[tuple[str, str]] = Counter()
        for path, action, count in found["actions"]:
            actions[path, action] = count
        return Manifest(
            found["job"],
            found["project"],
            found["study_instance_uid"],
            files,
            found["skipped"],
            actions,
            found["context"],
        )
    except (ValueError, KeyError, TypeError):
        raise tampered("manifest") from None


def sha256_of(content: bytes) -> str:
    """SHA-256, lower-case hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def tampered(where: str) -> Refused:
    """The refusal of a de-identified study that is not as it was released."""
    return Refused("deid.tampered", where, "the de-identified files are not those that were released")
