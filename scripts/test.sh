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

# Three runs side by side, of about the same length: stories on FHIR servers, the other stories with real peers, and everything else.
fhir=(tests/acceptance/test_fhir_*.py tests/acceptance/test_*_on_*.py)
stories=() rest=()
for path in tests/acceptance/test_*.py; do
    case " ${fhir[*]} " in *" $path "*) ;; *) stories+=("$path") ;; esac
done
for path in tests/*; do
    case $path in tests/acceptance | tests/conftest.py | tests/data | tests/support) ;; *) rest+=("$path") ;; esac
done
logs=$(mktemp -d)
.venv/bin/pytest "${rest[@]}" >"$logs/rest" 2>&1 &
others=$!
.venv/bin/pytest "${fhir[@]}" >"$logs/fhir" 2>&1 &
servers=$!
trap 'kill "$others" "$servers" 2>/dev/null || true; rm -rf "$logs"' EXIT
status=0
.venv/bin/pytest "${stories[@]}" || status=$?
wait "$servers" || status=$?
cat "$logs/fhir"
wait "$others" || status=$?
cat "$logs/rest"
exit "$status"
