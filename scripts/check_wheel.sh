#!/usr/bin/env bash
# Checks an environment into which the wheel was installed: whether everything is in it, and whether it starts.
#   scripts/check_wheel.sh PYTHON
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)

python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null && wait "$server" || true; rm -rf "$folder"' EXIT
cd "$folder" # where nothing of the checkout is
unset PYTHONPATH
export CHARRNN_DATA_FOLDER=$folder/data JUPYTER_CONFIG_DIR=$folder/config JUPYTER_RUNTIME_DIR=$folder/runtime

"$python" - "$checkout" <<'END'
import sys
from pathlib import Path

import charrnn, charrnn_server
from charrnn.jobs.database import revisions
from charrnn_server.dashboard import notebook

checkout = Path(sys.argv[1])
package, server = Path(charrnn.__file__).parent, Path(charrnn_server.__file__).parent
for folder in (package, server):
    assert Path(sys.prefix) in folder.parents, f"{folder} is not what was installed"
assert Path(sys.prefix) in notebook.find().parents, f"{notebook.find()} is not what was installed"
for ours, theirs in ((checkout / "charrnn", package), (checkout / "server_ext/charrnn_server", server)):
    for path in ours.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (theirs / path.relative_to(ours)).is_file(), f"{path} is not in the wheel"
assert revisions(), "there are no migrations"
END
"$python" -m jupyter_server.extension.serverextension list >"$folder/extensions" 2>&1
grep -q "charrnn_server.*OK" "$folder/extensions" ||
    { echo "check_wheel: Jupyter's server does not have charrnn enabled" >&2; exit 1; }

root=()
[ "$(id -u)" != 0 ] || root=(--allow-root)
"$(dirname "$python")/jupyter-charrnn" --no-browser "${root[@]}" --ServerApp.ip=127.0.0.1 --ServerApp.port=0 \
    --ServerApp.root_dir="$folder" --IdentityProvider.token=checked >"$folder/messages" 2>&1 &
server=$!
for _ in $(seq 600); do
    kill -0 "$server" 2>/dev/null || break
    address=$(sed -n 's/.*"url": "\(.*\)".*/\1/p' "$folder"/runtime/jpserver-*.json 2>/dev/null || true)
    if [ -n "$address" ] && curl -fsS -o "$folder/page" "${address}charrnn?token=checked" 2>/dev/null; then
        grep -q "<title>charrnn" "$folder/page" && echo "check_wheel: the extension is enabled, and jupyter charrnn starts" && exit
    fi
    sleep 0.2
done
cat "$folder/messages" >&2
echo "check_wheel: jupyter charrnn did not start" >&2
exit 1
