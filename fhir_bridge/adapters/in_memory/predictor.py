"""The twin of the model process: predictions by script."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fhir_bridge.errors import BridgeError, Refused
from fhir_bridge.study import DeidentifiedStudy
from inference.prediction import Prediction


@dataclass(slots=True)
class InMemoryPredictor:
    """The port `Predictor`: `script` holds the prediction of each model. Every call raises `outage` while it is set.

    A scripted picture is written as an empty file, so that whoever reads it finds one. `analysed` are the folders it was given.
    """

    script: Mapping[str, Prediction]
    outage: BridgeError | None = None
    guard: str = "none"
    analysed: list[Path] = field(default_factory=list, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def analyse(self, study: DeidentifiedStudy, models: Sequence[str], into: Path) -> tuple[Prediction, ...]:
        if self.outage is not None:
            raise self.outage
        if not set(models) <= set(self.script):
            raise Refused("model.unknown", "models", "no model of this name is installed")
        with self._lock:
            self.analysed.append(study.folder)
        into.mkdir(parents=True, exist_ok=True)
        said = [replace(self.script[model], study_instance_uid=study.study_instance_uid) for model in models]
        for prediction in said:
            if prediction.picture:
                (into / prediction.picture).touch()
        return tuple(said)
