"""Real peers that a machine may lack: their tests are skipped by name, or fail under REQUIRE_REAL_PARTS=1."""

import os
from typing import NoReturn

import pytest


def part_missing(part: str, reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_REAL_PARTS") == "1":
        pytest.fail(f"{part} is required by REQUIRE_REAL_PARTS=1: {reason}", pytrace=False)
    pytest.skip(f"{part} cannot be had here: {reason}")
