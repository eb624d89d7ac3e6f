#!/usr/bin/env bash
# Style, types and the directions of imports.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
$bin/ruff check --quiet .
$bin/ruff format --quiet --check .
$bin/mypy
$bin/lint-imports --no-logo
