"""Artifacts as JSON: the typed values that steps hand to each other, to bytes and back."""

from typing import Any, TypeVar

from pydantic import TypeAdapter

from inference.prediction import Prediction

T = TypeVar("T")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def dump(value: object, kind: Any = None) -> bytes:
    """JSON of a dataclass (or of `kind`, for a tuple of them); bytes become base64."""
    return _adapter(kind or type(value)).dump_json(value)


def load(kind: type[T], content: bytes) -> T:
    """The value again."""
    value: T = _adapter(kind).validate_json(content)
    return value


PREDICTIONS: Any = tuple[Prediction, ...]


def _adapter(kind: Any) -> TypeAdapter[Any]:
    # built once a process: building costs milliseconds, using it microseconds
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
