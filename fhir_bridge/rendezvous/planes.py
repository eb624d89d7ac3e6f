"""How frames lie in the patient, and whether they are slices at equal distances of one upright stack. Pure; LPS, mm (PS3.3 §C.7.6.2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

Vector = tuple[float, ...]

_SAME_DIRECTION = 1e-3  # of a cosine
_UPRIGHT = 0.9999  # of the way between first and last slice that lies along their normal: less is a tilted stack
_EVEN = 0.01  # of the distance between slices
_MAIN_AXIS = 0.9  # cosine; less is oblique
_AXES = ("sagittal", "coronal", "axial")  # by the axis along which the normal lies: x, y, z

NO_GEOMETRY = "no-geometry"


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame: Image Orientation (six cosines) and Image Position."""

    orientation: Vector
    position: Vector

    @property
    def normal(self) -> Vector:
        (a, b, c), (d, e, f) = self.orientation[:3], self.orientation[3:]
        return (b * f - c * e, c * d - a * f, a * e - b * d)

    @property
    def direction(self) -> str:
        """`axial`, `coronal`, `sagittal` or `oblique`."""
        cosines = [abs(part) for part in self.normal]
        main = max(cosines)
        return _AXES[cosines.index(main)] if main >= _MAIN_AXIS else "oblique"


def judge_stack(planes: Sequence[Plane]) -> tuple[tuple[str, ...], float]:
    """What keeps these frames from being a regular volume, empty if nothing does; and the distance of neighbouring slices.

    Findings: `no-geometry`, `several-orientations`, `one-slice`, `duplicate-positions`, `missing-slices`, `uneven-spacing`, `tilted`.
    """
    if not planes:
        return (NO_GEOMETRY,), 0.0
    if any(not _is_parallel(planes[0], plane) for plane in planes[1:]):
        return ("several-orientations",), 0.0
    normal = planes[0].normal
    along = sorted((_dot(normal, plane.position), plane.position) for plane in planes)
    gaps = [after - before for (before, _), (after, _) in pairwise(along)]
    apart = [gap for gap in gaps if gap > _EVEN]
    if not apart:
        return ("one-slice" if not gaps else "duplicate-positions",), 0.0
    step = median(apart)
    findings = {
        "duplicate-positions": len(apart) < len(gaps),
        "missing-slices": any(_is_hole(gap, step) for gap in apart),
        "uneven-spacing": any(abs(gap - step) > _EVEN * step and not _is_hole(gap, step) for gap in apart),
        "tilted": _is_tilted(normal, along[0][1], along[-1][1]),
    }
    return tuple(name for name, holds in findings.items() if holds), round(step, 4)


def _is_parallel(one: Plane, other: Plane) -> bool:
    cosines = zip(one.orientation, other.orientation, strict=True)
    return all(math.isclose(a, b, abs_tol=_SAME_DIRECTION) for a, b in cosines)


def _is_hole(gap: float, step: float) -> bool:
    slices = round(gap / step)
    return slices > 1 and abs(gap - slices * step) <= _EVEN * gap


def _is_tilted(normal: Vector, first: Vector, last: Vector) -> bool:
    return abs(_dot(normal, last) - _dot(normal, first)) < _UPRIGHT * math.dist(first, last)


def _dot(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
