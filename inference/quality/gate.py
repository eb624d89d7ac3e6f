"""The quality gate: bounds from the manifest, a score, and a refusal that names the measure."""

from collections.abc import Mapping

from inference.manifest import Limit, Quality
from inference.refusal import InferenceRefused

_WORDS = {
    "snr_db": ("quality.noise", "the film is too noisy"),
    "contrast": ("quality.contrast", "the film has too little contrast"),
    "sharpness": ("quality.sharpness", "the film is blurred"),
    "saturation": ("quality.saturation", "too much of the film is burnt out"),
}


def merit(value: float, limit: Limit) -> float:
    """1 at the typical value or better, 0 at the worst accepted one or worse, linear between; high or low may be the good side."""
    return min(max((value - limit.worst) / (limit.typical - limit.worst), 0.0), 1.0)


def quality_score(measured: Mapping[str, float], quality: Quality) -> float:
    """The merit of the weakest measure, 0..1: a film is as good as its worst property."""
    return min(merit(measured[limit.measure], limit) for limit in quality.limits)


def require_quality(measured: Mapping[str, float], quality: Quality) -> None:
    """Raises InferenceRefused `quality.noise`, `quality.contrast`, `quality.sharpness`, `quality.saturation`."""
    for limit in quality.limits:
        value, direction = measured[limit.measure], 1 if limit.typical > limit.worst else -1
        if not (value - limit.worst) * direction >= 0:  # so that a value that is no number does not pass
            code, words = _WORDS[limit.measure]
            raise InferenceRefused(code, limit.measure, f"{words} ({value:.3g}, limit {limit.worst:.3g})")
