#!/usr/bin/env bash
# Sets up .venv with the development requirements, then runs ruff and all tests.
# Arguments go to pytest; paths among them are relative to the checkout: scripts/run_tests.sh -x tests/test_ctc.py
# PYTHON=/path/to/python uses that environment and installs nothing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$ROOT/scripts/setup_env.sh"

setup_env dev
cd "$ROOT"
"$PYTHON" -m ruff check . >&2
# testpaths, not an argument: it gives way to paths among "$@".
exec "$PYTHON" -m pytest --rootdir=. -o testpaths=tests "$@"
