"""The named steps that a manifest may list, one file per modality."""

from collections.abc import Callable, Sequence

from inference.film import Film
from inference.manifest import Step
from inference.preprocess.xray import invert_monochrome1, resize, stretch_percentiles

STEPS: dict[str, Callable[..., Film]] = {
    "invert_monochrome1": invert_monochrome1,
    "resize": resize,
    "stretch_percentiles": stretch_percentiles,
}


def prepare(film: Film, steps: Sequence[Step], measured_after: str) -> tuple[Film, Film]:
    """The film after the step named `measured_after`, where its quality is measured, and after all steps."""
    measured = film
    for step in steps:
        film = STEPS[step.step](film, **step.parameters)
        if step.step == measured_after:
            measured = film
    return measured, film
