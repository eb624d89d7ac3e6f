#!/usr/bin/env bash
# Builds (first use only) and starts a real HAPI FHIR JPA R4 server on a loopback port. See README.md.
# Replaces itself by java: the caller's child process is the server, and SIGTERM stops it cleanly.
set -euo pipefail

usage="usage: run.sh --work DIRECTORY [--port 8090] [--database FILE] [--heap 768m] [--build-only]
              [--hook-interval-ms 500] [--search-cache-ms 60000]"
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work='' port=8090 heap=768m build_only=no
options=()

while (($#)); do
    case $1 in
        --work) work=${2:?$usage}; shift 2 ;;
        --port) port=${2:?$usage}; shift 2 ;;
        --heap) heap=${2:?$usage}; shift 2 ;;
        --database) options+=(--database "$(realpath -m "${2:?$usage}")"); shift 2 ;;
        --hook-interval-ms | --search-cache-ms) options+=("$1" "${2:?$usage}"); shift 2 ;;
        --build-only) build_only=yes; shift ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
done
[[ -n $work ]] || { echo "$usage" >&2; exit 2; }

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
major=$("$java" -XshowSettings:properties -version 2>&1 | sed -n 's/.*java\.specification\.version = //p')
((${major%%.*} >= 17)) || { echo "HAPI needs Java 17 or later, found $major" >&2; exit 1; }

mkdir -p "$work"
work=$(cd "$work" && pwd)
wanted=$(cd "$source_dir" && find pom.xml src -type f | LC_ALL=C sort | xargs sha256sum | sha256sum)

exec 9>"$work/lock"
flock 9 # two test runs may share a work folder
if [[ $(cat "$work/built" 2>/dev/null) != "$wanted" ]]; then
    echo "build: Maven resolves HAPI into $work"
    rm -rf "$work/classes" "$work/jars" "$work/built"
    if ! mvn -B -q -ntp -f "$source_dir/pom.xml" "-Dwork.directory=$work" \
        compile dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$work/jars" \
        >"$work/build.log" 2>&1; then
        echo "build: failed, see $work/build.log" >&2
        tail -n 20 "$work/build.log" >&2
        exit 1
    fi
    echo "$wanted" >"$work/built"
    echo "build: $(find "$work/jars" -name '*.jar' | wc -l) jars, $(du -sm "$work/jars" | cut -f1) MB, ${SECONDS} s"
fi
exec 9>&-
[[ $build_only == no ]] || exit 0

log=$work/hapi-$$.log # the process keeps this number; several servers may share one work folder
echo "start: port $port, log $log"
# C1 and the serial collector: half the CPU time and memory of the JVM's defaults for a short-lived test server
exec "$java" "-Xmx$heap" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-Dhapi.log=$log" \
    -cp "$work/classes:$work/jars/*" fhirbridge.peer.HapiMain --port "$port" "${options[@]}"
