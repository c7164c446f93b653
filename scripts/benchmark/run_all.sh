#!/usr/bin/env bash
# Runs all benchmarks of this directory but the decoders' and writes their table into the README, with the machine.
# Takes about ten minutes; nothing else should run meanwhile. SKIP="train_step index_scale" leaves some out; real_run
# wants the corpus AN4 and is left out where it is not ($HOME/corpus/an4).
# PYTHON=/path/to/python uses that environment and installs nothing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$ROOT/scripts/setup_env.sh"

setup_env dev
if [ ! -d "${AN4:-$HOME/corpus/an4}" ]; then
  say "real_run is left out: no AN4 in ${AN4:-$HOME/corpus/an4}; say where it is with AN4="
  SKIP="${SKIP:-} real_run"
fi
table=$(mktemp)
trap 'rm -f "$table"' EXIT
for name in train_step ctc convolution features input_pipeline real_run index_scale ngram_model; do
  case " ${SKIP:-} " in *" $name "*) continue ;; esac
  say "$name"
  "$PYTHON" "$ROOT/scripts/benchmark/$name.py" --rows | tee -a "$table" >&2
done
"$PYTHON" "$ROOT/scripts/benchmark/write_table.py" "$table" "$ROOT/README.md"
say "the table is in $ROOT/README.md"
