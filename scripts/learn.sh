#!/usr/bin/env bash
# The main job: learn a real text with live progress, then write like it.
#   scripts/learn.sh PYTHON MINUTES [FILE]     without FILE: Python's own standard library
set -euo pipefail
cd "$(dirname "$0")/.."

python=$1 minutes=$2 file=${3:-}

mkdir -p build/run
if [ -z "$file" ]; then
    file=build/run/python.txt
    [ -e "$file" ] ||
        "$python" -c 'import sys, charrnn; charrnn.samples.write("python", sys.argv[1], limit=1_000_000)' "$file"
fi
name=$(basename "$file")
model="build/run/${name%.*}.safetensors"

# a second run goes on from what the first one saved, or says that it is finished
"$python" -m charrnn train "$file" -o "$model" --minutes "$minutes" --resume
echo
echo "What it writes now (charrnn sample $model):"
echo
"$python" -m charrnn sample "$model" --length 800 --temperature 0.8
