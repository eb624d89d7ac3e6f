"""Descriptors reduced to known words (PS3.15 §E.3.5, Clean Descriptors Option). What is not known is not kept."""

import re
from collections.abc import Set
from functools import cache
from importlib.resources import files

_WORD = re.compile(r"[A-Z]{2,}")
_LONGEST_LO = 64


@cache
def vocabulary() -> frozenset[str]:
    """The words of `tables/words.txt`, upper case."""
    lines = (files("fhir_bridge.deid") / "tables" / "words.txt").read_text(encoding="ascii").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def known_words(text: str, identifying: Set[str] = frozenset()) -> str:
    """The words of the vocabulary that the text holds, in their order, less those that name this patient; at most 64 characters.

    Numbers, initials, anything outside ASCII and a word glued to digits die by themselves.
    """
    tokens = re.split(r"[^0-9A-Za-z\x80-\U0010ffff]+", text)
    kept = [token.upper() for token in tokens if _WORD.fullmatch(token.upper())]
    kept = [word for word in kept if word in vocabulary() and word not in identifying]
    cleaned = ""
    for word in kept:
        if len(cleaned) + 1 + len(word) > _LONGEST_LO:
            break
        cleaned = f"{cleaned} {word}".strip()
    return cleaned
