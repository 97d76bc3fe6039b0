#!/usr/bin/env bash
# Starts the server and prints its address. What it keeps lies in the user's data folder, or where CHARRNN_… says.
#   scripts/run.sh PYTHON [OPTION …]     options of `jupyter charrnn`
set -euo pipefail
cd "$(dirname "$0")/.."

python=$1
shift
if [ "$(id -u)" = 0 ]; then set -- --allow-root "$@"; fi # which Jupyter wants to be told
exec "$python" -m charrnn_server "$@"
