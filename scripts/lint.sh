#!/usr/bin/env bash
# Formatting, lint, types and layering; expects the environment of requirements-dev.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
ruff check .
ruff format --check .
git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' | xargs clang-format --dry-run --Werror
mypy
mypy --python-version 3.10 -p runtime # runtime/ alone also runs on JetPack 6
lint-imports
