"""The twin of `artifact_folder`."""

import hashlib
from pathlib import Path

from fhir_bridge.errors import Refused
from fhir_bridge.job import Stage


class InMemoryArtifacts:
    """`ports.ArtifactStore`; its folders are real ones under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._objects: dict[tuple[str, Stage, str], bytes] = {}

    def put(self, job: str, stage: Stage, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self._objects[job, stage, digest] = content
        return digest

    def get(self, job: str, stage: Stage, digest: str) -> bytes:
        try:
            return self._objects[job, stage, digest]
        except KeyError:
            raise Refused(
                "store.artifact-missing", stage, "a stored result of this step is gone; replay the job"
            ) from None

    def folder(self, job: str, *, identified: bool) -> Path:
        path = self._root / ("phi" if identified else "deidentified") / "jobs" / job
        path.mkdir(parents=True, exist_ok=True)
        return path
