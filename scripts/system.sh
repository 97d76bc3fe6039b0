#!/usr/bin/env bash
# Installs what the tests need from Debian's packages, where it is not there yet.
set -euo pipefail

# what must be there, and the package that brings it
NEEDED=(
    mariadbd:mariadb-server-core
    mariadb-install-db:mariadb-server-core
    my_print_defaults:mariadb-client-core
    curl:curl
    chromium:chromium
    nginx:nginx
    buildah:buildah
    debootstrap:debootstrap
)
PATH="$PATH:/usr/sbin:/sbin"

missing() {
    local entry
    for entry in "${NEEDED[@]}"; do
        command -v "${entry%%:*}" >/dev/null || echo "${entry#*:}"
    done | sort -u
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

packages=$(missing)
[ -n "$packages" ] || exit 0
packages=$(echo $packages)
fail() {
    echo "system: the tests need $packages, which $1; as root: apt-get install $packages" >&2
    exit 1
}
command -v apt-get >/dev/null || fail "only Debian's packages are known for here"
echo "system: installing $packages" >&2
export DEBIAN_FRONTEND=noninteractive
quietly() {
    local said
    said=$("$@" 2>&1) || { echo "$said" >&2; return 1; }
}
quietly as_root apt-get update -qq || fail "could not be looked up (no right, or no network)"
# a service that comes along (nginx has one) is not to start, now or with the machine: the tests start their own
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy"
fi
quietly as_root apt-get install -y -qq --no-install-recommends $packages || fail "could not be installed"
[ -z "$(missing)" ] || fail "are still missing"
case " $packages " in
    *" nginx "*) if command -v systemctl >/dev/null; then as_root systemctl disable nginx >/dev/null 2>&1 || true; fi ;;
esac
