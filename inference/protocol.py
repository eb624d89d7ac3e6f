"""The words between the bridge and the model process: one JSON object a line, both ways.

-> {"id": 1, "folder": "...", "models": ["xray_pneumonia"], "into": "..."}
<- {"id": 1, "predictions": [{...}]}                    one per model, see Prediction
-> {"id": 2, "verify": true, "models": []}              load and test these afresh; all that are installed, if none is named
<- {"id": 2, "models": [{"model": "...", "version": "...", "weights_digest": "...", "code": ""}]}
<- {"id": 1, "error": {"code": "model.unknown", "where": "models"}}
<- {"ready": true, "guard": "netns"}                    once, before the first answer
"""

import json
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict

from inference.prediction import InputImage, Prediction


def encode(message: dict[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The object of a line. Raises ValueError where it is none."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


class Request(BaseModel):
    """A request line, read strictly."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: int
    verify: bool = False
    folder: str = ""
    models: tuple[str, ...] = ()
    into: str = ""


def decode_request(line: bytes) -> Request:
    """The request of a line. Raises ValueError where it is none, or names no folders to read and to write."""
    request = Request.model_validate_json(line)
    if not request.verify and not (request.folder and request.into):
        raise ValueError("a prediction needs a folder and a place for its picture")
    return request


def prediction_to_json(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain JSON values."""
    return asdict(prediction)


def prediction_from_json(values: dict[str, Any]) -> Prediction:
    """The prediction of `prediction_to_json`. Raises TypeError, KeyError where a key is unknown or missing."""
    inputs = tuple(InputImage(**image) for image in values["inputs"])
    return Prediction(**{**values, "inputs": inputs, "caveats": tuple(values["caveats"])})
