#!/usr/bin/env bash
# Runs all benchmarks of this directory but the decoders' and writes their table into the README, with the machine.
# Takes about ten minutes; nothing else should run meanwhile. SKIP="train_step index_scale" leaves some out.
# PYTHON=/path/to/python uses that environment and installs nothing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$ROOT/scripts/setup_env.sh"

setup_env dev
table=$(mktemp)
trap 'rm -f "$table"' EXIT
for name in train_step ctc convolution features input_pipeline index_scale; do
  case " ${SKIP:-} " in *" $name "*) continue ;; esac
  say "$name"
  "$PYTHON" "$ROOT/scripts/benchmark/$name.py" --rows | tee -a "$table" >&2
done
"$PYTHON" "$ROOT/scripts/benchmark/write_table.py" "$table" "$ROOT/README.md"
say "the table is in $ROOT/README.md"
