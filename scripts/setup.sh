#!/usr/bin/env bash
# Makes .venv with a fitting Python and installs fhir-bridge with pinned versions. PYTHON=/path/to/python3.12 chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() { # prints a fitting interpreter; else the reasons, on stderr
    local candidate said verdict
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python}; do
        command -v "$candidate" >/dev/null || continue
        verdict=0
        said=$("$candidate" scripts/find_python.py 2>/dev/null) || verdict=$?
        case $verdict in
            0) echo "$candidate"; return ;;
            1) echo "setup: $candidate $said" >&2 ;;
            3)
                echo "setup: $candidate fits, but cannot make a virtual environment: the Debian package $said is missing" >&2
                # inside $(...): what apt prints must not become the answer
                if scripts/packages.sh "$said" >&2 && "$candidate" scripts/find_python.py >/dev/null; then
                    echo "$candidate"
                    return
                fi
                ;;
        esac
    done
    echo "setup: no fitting Python found${PYTHON:+ (PYTHON=$PYTHON)}; on Debian 12 or later: apt-get install python3 python3-venv" >&2
    return 2
}

python=$(find_python)
echo "setup: $("$python" --version), into .venv"
# An environment of another interpreter, or a half-made one, is made anew; a good one is kept and only brought up to date.
if ! .venv/bin/python scripts/find_python.py >/dev/null 2>&1 || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear .venv
fi
rm -f .venv/ready
echo "setup: installing the pinned packages of constraints.txt (about 2 GB with TensorFlow; minutes at the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,test]'
touch .venv/ready
echo "setup: ready"
