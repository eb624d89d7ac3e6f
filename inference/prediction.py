"""What a model said about a folder of de-identified images, as plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image that the model looked at; UIDs are pseudonyms, `digest` is the SHA-256 of the file."""

    sop_instance_uid: str
    digest: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of one model for one study.

    `status` is `analysed` or `refused`; a refused study has `reason` (a slug) and `explanation` (words) and no outputs.
    `outputs` and `thresholds` are keyed by the manifest's output names; `quality` by measure; `quality_score` is 0..1.
    """

    model: str
    version: str
    weights_digest: str
    status: str
    study_instance_uid: str = ""  # pseudonym
    inputs: tuple[InputImage, ...] = ()
    outputs: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    quality_score: float | None = None
    reason: str = ""
    explanation: str = ""
    caveats: tuple[str, ...] = ()
    picture: str = ""  # file name of the attribution overlay (PNG) in the output folder
    picture_method: str = ""
    seconds: float = 0.0
