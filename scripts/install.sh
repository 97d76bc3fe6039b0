#!/usr/bin/env bash
# Makes .venv with everything the lock names, and the project in it. `--tool NAME` makes an environment for one tool.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv

fail() {
    echo "install: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi
}

# An interpreter of a supported version that really starts (a version manager's stand-in may not).
find_python() {
    local candidate
    for candidate in "${PYTHON_FOR_VENV:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && "$candidate" -c \
            'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 found: install one, or name it in PYTHON_FOR_VENV"
}

# Debian and Ubuntu ship Python without what venv needs.
make_venv() {
    local folder=$1 python
    python=$(find_python)
    if "$folder/bin/python" -m pip --version >/dev/null 2>&1; then return; fi
    rm -rf "$folder"
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        local package
        package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
        command -v apt-get >/dev/null || fail "$python lacks venv and ensurepip: install them"
        echo "install: $python lacks venv, installing $package" >&2
        { as_root apt-get update -qq && as_root apt-get install -y -qq "$package"; } >&2 ||
            fail "$package is missing and could not be installed: run apt-get install $package as root"
    fi
    "$python" -m venv "$folder"
}

if [ "${1:-}" = --tool ]; then
    make_venv "build/tool-$2"
    "build/tool-$2/bin/python" -m pip install --quiet --quiet "$2"
    exit
fi

make_venv "$VENV"
echo "install: everything in requirements.lock, once (TensorFlow is large)" >&2
"$VENV/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --require-hashes -r requirements.lock
"$VENV/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
