"""What the model process answers to a request line. Loads packages when they are first asked for and keeps them."""

from pathlib import Path
from typing import Any

from inference.manifest import MODELS, ModelManifest, available, manifest_of
from inference.predict import predict
from inference.protocol import Request, decode_request, prediction_to_json
from inference.refusal import InferenceRefused
from inference.runtime import LoadedPackage, configure

Answer = dict[str, Any]


class ModelServer:
    """The loaded packages of one process."""

    def __init__(self, threads: int, models: Path = MODELS) -> None:
        configure(threads)
        self._models = models
        self._loaded: dict[str, LoadedPackage] = {}

    def answer(self, line: bytes) -> Answer:
        """The answer to one request line; an error is its code and place, never a text.

        What is not foreseen here is not caught: it ends the process, and the parent starts another.
        """
        try:
            request = decode_request(line)
        except ValueError:
            return {"id": None, "error": {"code": "model.bad-request", "where": "line"}}
        try:
            return {"id": request.id, **self._serve(request)}
        except InferenceRefused as refusal:
            return {"id": request.id, "error": {"code": refusal.code, "where": refusal.where}}
        except OSError as error:
            return {"id": request.id, "error": {"code": "model.io", "where": type(error).__name__}}
        except ValueError as error:
            return {"id": request.id, "error": {"code": "model.failed", "where": type(error).__name__}}

    def _serve(self, request: Request) -> Answer:
        if request.verify:
            named = [manifest_of(name, self._models) for name in request.models]
            return {"models": [self._verdict(manifest) for manifest in named or available(self._models)]}
        packages = [self._package(manifest_of(name, self._models)) for name in request.models]
        folder, into = Path(request.folder), Path(request.into)
        return {"predictions": [prediction_to_json(predict(folder, package, into)) for package in packages]}

    def _package(self, manifest: ModelManifest) -> LoadedPackage:
        if manifest.name not in self._loaded:
            self._loaded[manifest.name] = LoadedPackage(manifest)
        return self._loaded[manifest.name]

    def _verdict(self, manifest: ModelManifest) -> Answer:
        """Load and test one model afresh; `code` says what is wrong with it, empty where nothing is."""
        code = ""
        try:
            self._loaded[manifest.name] = LoadedPackage(manifest)
        except InferenceRefused as refusal:
            self._loaded.pop(manifest.name, None)
            code = refusal.code
        names = {"model": manifest.name, "version": manifest.version, "weights_digest": manifest.weights.sha256}
        return {**names, "code": code}
