# Creates the Python environment of this checkout; sourced, after common.sh, by run_demo.sh and run_tests.sh.

# find_base_python: prints the first Python on PATH that both this project and TensorFlow support.
find_base_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python from 3.11 to 3.13 on PATH (python3: $(python3 --version 2>&1 || true)); install Python 3.11, run again"
}

# environment_stamp: prints what an up-to-date environment depends on: requirements, directory and Python version.
environment_stamp() {
  cat "$ROOT/requirements.txt" "$ROOT"/scripts/requirements-*.txt
  echo "$ROOT"
  "$ROOT/.venv/bin/python" --version
}

# setup_env demo|dev: sets PYTHON to an environment with scripts/requirements-KIND.txt; a PYTHON that is set is kept.
setup_env() {
  local kind=$1 base venv=$ROOT/.venv
  local stamp=$venv/.installed-$kind
  if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is not a program; unset PYTHON to create an environment"
    say "using PYTHON=$PYTHON as it is"
    return
  fi
  PYTHON=$venv/bin/python
  if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then # missing, incomplete, or its Python is gone
    base=$(find_base_python)
    "$base" -c 'import venv, ensurepip' 2>/dev/null ||
      fail "$base lacks the modules venv and ensurepip; on Debian and Ubuntu: apt install python3-venv"
    say "creating $venv with $("$base" --version)"
    "$base" -m venv --clear "$venv" || fail "cannot create $venv; see above"
  fi
  if ! environment_stamp | cmp -s - "$stamp"; then
    say "installing scripts/requirements-$kind.txt (about 2.5 GB; some minutes the first time)"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$ROOT/scripts/requirements-$kind.txt" >&2 ||
      fail "pip could not install scripts/requirements-$kind.txt; see above, then run this again: it resumes"
    environment_stamp >"$stamp"
  fi
}
