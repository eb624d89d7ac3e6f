"""Objects as files: `ports.ArtifactStore`. What identifies a patient lies under `phi/`, what does not under `deidentified/`."""

import hashlib
import os
from pathlib import Path

from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.job import Stage


class ArtifactFolder:
    """`put` returns only when file and folder entry are on disk. Raises Unavailable `store.disk`."""

    def __init__(self, data_dir: Path) -> None:
        self._phi = data_dir / "phi"
        self._deidentified = data_dir / "deidentified"

    def put(self, job: str, stage: Stage, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(job, stage, digest)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise Unavailable("store.disk", stage, type(error).__name__) from None
        return digest

    def get(self, job: str, stage: Stage, digest: str) -> bytes:
        """Raises Refused `store.artifact-missing` or `store.artifact-damaged`."""
        try:
            content = self._path(job, stage, digest).read_bytes()
        except FileNotFoundError:
            raise Refused(
                "store.artifact-missing", stage, "a stored result of this step is gone; replay the job --from it"
            ) from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise Refused(
                "store.artifact-damaged", stage, "a stored result of this step has changed; replay the job --from it"
            )
        return content

    def folder(self, job: str, *, identified: bool) -> Path:
        path = (self._phi if identified else self._deidentified) / "jobs" / job
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def _path(self, job: str, stage: Stage, digest: str) -> Path:
        return self._phi / "jobs" / job / "artifacts" / f"{stage}-{digest}.json"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
