#!/usr/bin/env bash
# Sets up .venv with the development requirements, then runs ruff, mypy and all tests.
# Arguments are passed on to pytest; paths are relative to the checkout: scripts/run_tests.sh -x tests/test_errors.py
# PYTHON=/path/to/python uses that environment as it is and installs nothing. TEST_PROCESSES (2) run the tests.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$ROOT/scripts/setup_env.sh"

setup_env dev
cd "$ROOT"
"$PYTHON" -m ruff check . >&2
"$PYTHON" -m mypy >&2
# testpaths instead of an argument, so that paths in "$@" replace it.
exec "$PYTHON" -m pytest --rootdir=. -o testpaths=tests -n "${TEST_PROCESSES:-2}" --dist loadfile "$@"
