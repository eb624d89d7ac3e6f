#!/usr/bin/env bash
# Runs every benchmark, one after the other; the killing has a command of its own (make bench-kill).
set -euo pipefail
cd "$(dirname "$0")/.."
for script in benchmarks/*.py; do
    case $script in benchmarks/kill.py | "benchmarks/*.py") continue ;; esac
    echo "== $script"
    .venv/bin/python "$script" "$@"
done
