#!/usr/bin/env bash
# Brings the tables up to date. Machines that do it at the same time wait for one another.
set -euo pipefail
container=$(docker ps --quiet | head -n 1)
exec docker exec "$container" charrnn db upgrade
