#!/usr/bin/env bash
# Everything that can be checked on this machine. REQUIRE_REAL_PARTS=1: a missing real part, or a skipped test, is a failure.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

# Real peers of tests/acceptance: HAPI FHIR, and Camel with HAPI HL7v2, are built by Maven; Orthanc, DCMTK and strace come from Debian.
if ! scripts/packages.sh javac=default-jdk-headless mvn=maven Orthanc=orthanc orthanc-dicomweb storescu=dcmtk dciodvfy=dicom3tools strace; then
    if [ "${REQUIRE_REAL_PARTS:-}" = 1 ]; then
        echo "test: REQUIRE_REAL_PARTS=1 and the packages above are missing" >&2
        exit 2
    fi
    echo "test: going on without them; the tests left out are named at the end" >&2
fi
scripts/lint.sh
[ $# -eq 0 ] || exec .venv/bin/pytest "$@"

# Two runs side by side, of about the same length: the stories with real peers, and everything else.
rest=()
for path in tests/*; do
    case $path in tests/acceptance | tests/conftest.py | tests/data | tests/support) ;; *) rest+=("$path") ;; esac
done
log=$(mktemp)
.venv/bin/pytest "${rest[@]}" >"$log" 2>&1 &
others=$!
trap 'kill "$others" 2>/dev/null || true; rm -f "$log"' EXIT
status=0
.venv/bin/pytest tests/acceptance || status=$?
wait "$others" || status=$?
cat "$log"
exit "$status"
