#!/usr/bin/env bash
# packages.sh [PROGRAM=]PACKAGE...   Installs the Debian packages that are missing: as root, or through sudo with INSTALL_PACKAGES=1.
# A package counts as there where its PROGRAM is found, however that was installed. Without the right to install it prints the one
# line to run and exits 3. Services of the packages are kept from starting meanwhile.
set -euo pipefail

missing=()
for wanted in "$@"; do
    package=${wanted#*=} program=${wanted%%=*}
    if [ "$program" != "$package" ] && PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null; then continue; fi
    state=$(dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null || true)
    [ "$state" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

line="apt-get install --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "packages: this system has no apt-get; please install what these Debian packages hold: ${missing[*]}" >&2
    exit 3
fi
if [ "$(id -u)" != 0 ]; then
    if [ "${INSTALL_PACKAGES:-}" = 1 ] && command -v sudo >/dev/null; then
        exec sudo -- "$0" "$@"
    fi
    echo "packages: missing; install them with:  sudo $line" >&2
    exit 3
fi

policy=/usr/sbin/policy-rc.d # asked by every package before it starts its service; 101 means no
mark="# put here by fhir-bridge scripts/packages.sh while it installs"
kept=""
restore() {
    if grep -qsF "$mark" "$policy"; then rm -f "$policy"; fi
    if [ -n "$kept" ]; then mv "$kept" "$policy"; fi
}
trap restore EXIT
trap 'exit 130' INT TERM
if [ -e "$policy" ] && ! grep -qF "$mark" "$policy"; then
    kept=$(mktemp "$policy.kept.XXXXXX")
    mv "$policy" "$kept"
fi
printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
chmod 755 "$policy"

echo "packages: $line"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -o DPkg::Lock::Timeout=300"
if ! { $apt update || true; $apt install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "packages: could not install ${missing[*]}; the whole story is in $log" >&2
    exit 3
fi
rm -f "$log"
