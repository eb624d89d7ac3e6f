"""Is the picture good enough to be read? Measures, and the gate that judges them by the manifest's bounds."""

from inference.quality.gate import quality_score, require_quality
from inference.quality.measures import measure

__all__ = ["measure", "quality_score", "require_quality"]
