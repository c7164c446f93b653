#!/usr/bin/env bash
# Runs all benchmarks of this directory except those of decoders and clusters, and writes their table, with the name of
# the machine, into README.md of this directory. Takes about ten minutes; nothing else should run meanwhile.
#
#   SKIP     benchmarks to leave out: SKIP="train_step index_scale"          (none)
#   AN4      the corpus that real_run needs; without it, real_run is skipped ($HOME/corpus/an4)
#   PYTHON   an environment to use as it is; nothing is installed            (none: .venv is made)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$ROOT/scripts/setup_env.sh"

setup_env dev
if [ ! -d "${AN4:-$HOME/corpus/an4}" ]; then
  say "real_run is skipped: no AN4 in ${AN4:-$HOME/corpus/an4}; set AN4 to the corpus"
  SKIP="${SKIP:-} real_run"
fi
table=$(mktemp)
trap 'rm -f "$table"' EXIT
for name in train_step ctc convolution features input_pipeline real_run index_scale ngram_model; do
  case " ${SKIP:-} " in *" $name "*) continue ;; esac
  say "$name"
  "$PYTHON" "$ROOT/scripts/benchmark/$name.py" --rows | tee -a "$table" >&2
done
"$PYTHON" "$ROOT/scripts/benchmark/write_table.py" "$table" "$ROOT/scripts/benchmark/README.md"
say "the table is in $ROOT/scripts/benchmark/README.md"
