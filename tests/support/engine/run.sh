#!/usr/bin/env bash
# Builds (first use only) and starts the real HL7 v2 neighbours. See README.md.
# Replaces itself by java: the caller's child process is the program, and SIGTERM ends it (exit code 143).
set -euo pipefail

usage="usage: run.sh --work DIRECTORY --build-only
       run.sh --work DIRECTORY engine [options] | send [options] FILE... | serve [options]"
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ ${1:-} == --work && $# -ge 3 ]] || { echo "$usage" >&2; exit 2; }
work=$2 verb=$3
shift 3
case $verb in
    engine) program=(engine.HospitalEngine) ;;
    send | serve) program=(engine.Hl7Peer "$verb") ;;
    --build-only) ;;
    *) echo "$usage" >&2; exit 2 ;;
esac

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
major=$("$java" -XshowSettings:properties -version 2>&1 | sed -n 's/.*java\.specification\.version = //p')
((${major%%.*} >= 17)) || { echo "Camel needs Java 17 or later, found $major" >&2; exit 1; }

mkdir -p "$work"
work=$(cd "$work" && pwd)
wanted=$(cd "$source_dir" && find pom.xml src -type f | LC_ALL=C sort | xargs sha256sum | sha256sum)

exec 9>"$work/lock"
flock 9 # two test runs may share a work folder
if [[ $(cat "$work/built" 2>/dev/null) != "$wanted" ]]; then
    echo "build: Maven resolves Camel and HAPI HL7v2 into $work" >&2
    rm -rf "$work/classes" "$work/jars" "$work/built"
    if ! mvn -B -q -ntp -f "$source_dir/pom.xml" "-Dwork.directory=$work" \
        compile dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$work/jars" \
        >"$work/build.log" 2>&1; then
        echo "build: failed, see $work/build.log" >&2
        tail -n 20 "$work/build.log" >&2
        exit 1
    fi
    echo "$wanted" >"$work/built"
    echo "build: $(find "$work/jars" -name '*.jar' | wc -l) jars, $(du -sm "$work/jars" | cut -f1) MB, ${SECONDS} s" >&2
fi
exec 9>&-
[[ $verb != --build-only ]] || exit 0

# C1, the serial collector and a small heap: these are peers of a test on a busy machine.
# hapi.home: HAPI keeps its counter of control ids in a file, by default where it is started.
# shellcheck disable=SC2086 # JAVA_OPTS holds several options
exec "$java" -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dfile.encoding=UTF-8 "-Dhapi.home=$work" \
    -Dorg.slf4j.simpleLogger.logFile=System.err \
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=${ENGINE_LOG:-warn}" \
    "-Dorg.slf4j.simpleLogger.log.org.apache.camel.component.file=${ENGINE_LOG:-error}" \
    ${JAVA_OPTS:-} -cp "$work/classes:$work/jars/*" "${program[@]}" "$@"
