"""MSH-12: the version of an answer, and versions compared (HL7 table 0104)."""

import functools
import re

# HAPI refuses 2.8.2, 2.9 and everything later in an answer: ours stops at 2.8.1.
_ANSWERED = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1")
_UNKNOWN = "2.5.1"
_SHAPE = re.compile(r"\d{1,3}(\.\d{1,3}){1,3}", re.ASCII)


@functools.lru_cache(maxsize=64)
def answer_version(version: str) -> str:
    """The sender's, or the nearest lower that every peer takes; 2.5.1 where it names none that can be read."""
    asked = _numbers(version)
    if not asked:
        return _UNKNOWN
    return next((known for known in reversed(_ANSWERED) if _numbers(known) <= asked), _ANSWERED[0])


def at_least(version: str, other: str) -> bool:
    """Whether a version is another or later."""
    return _numbers(version) >= _numbers(other)


@functools.lru_cache(maxsize=64)
def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split("."))) if _SHAPE.fullmatch(version) else ()
