#!/usr/bin/env bash
# Locks pyproject.toml's extras with hashes: requirements/<name>.txt. `requirements/compile.sh --upgrade` takes newer versions.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() {  # lock NAME EXTRA...
  local name=$1 extras=(); shift
  for extra in "$@"; do extras+=(--extra "$extra"); done
  .venv/bin/uv pip compile pyproject.toml "${extras[@]}" --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    --overrides requirements/overrides.txt --constraints "$constraints" --output-file "requirements/$name.txt" --quiet "${upgrade[@]}"
}
upgrade=("$@")
# A fixed name: it is written into the locks, as where a version comes from.
constraints=requirements/.constraints
trap 'rm -f "$constraints"' EXIT
: > "$constraints"
lock dev all train dev
.venv/bin/uv pip compile requirements/tools.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements/tools.txt "${upgrade[@]}"
.venv/bin/uv pip compile infra/supply/tools.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --output-file infra/supply/tools.txt "${upgrade[@]}"
# Everything else takes the versions that the tests ran with.
grep -E '^[a-zA-Z0-9]' requirements/dev.txt | sed 's/ *\\$//' > "$constraints"
for service in gateway console inference analyzer drift; do lock "$service" "$service"; done
lock all all
# Beside vLLM, which pins an older FastAPI; vLLM and torch come with its image.
echo 'fastapi<0.137' > "$constraints"
lock vllm inference
