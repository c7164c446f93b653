#!/usr/bin/env bash
# Language models for a run on AN4: trains them on the transcripts of the training set alone, tunes their weights on
# dev, and scores dev without a language model and with each. Deterministic. Prints a table on stdout.
#
#   RUN_DIR      run of run_an4_ds2_train.sh or run_an4_las_train.sh              ($HOME/runs/an4-ds2)
#   FEATURES     directory of the indexes that its recipe wrote                   ($HOME/features/an4-fbank-40)
#   MODELS       UNIT-ORDER of each language model                                (word-3 char-10)
#
# Arguments are passed on to tune_lm.py. The beam width is 400 (las: 32): a character model still gains from more than
# 100. Dev chooses the weights and has chosen the checkpoint of the run, so both figures are slightly optimistic. For
# las, tune_lm.py also reports the best of the CTC weights without a language model; the table has the default one.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

RUN_DIR=${RUN_DIR:-$HOME/runs/an4-ds2}
FEATURES=${FEATURES:-$HOME/features/an4-fbank-40}
MODELS=${MODELS:-word-3 char-10}

find_python
[ -s "$RUN_DIR/config.json" ] || fail "RUN_DIR=$RUN_DIR is not a run; train one with scripts/run_an4_ds2_train.sh"
for subset in train-clean-100 dev-clean; do
  [ -s "$FEATURES/$subset.json" ] ||
    fail "FEATURES=$FEATURES has no $subset.json; scripts/run_an4_ds2_train.sh writes it, or set FEATURES"
done
dev=$FEATURES/dev-clean.json
width=400
grep -q '"model": "las"' "$RUN_DIR/config.json" && width=32

# score NAME FLAG...: scores dev and appends the last line of its report, with the name NAME, to the rows.
rows=()
score() {
  local name=$1 table
  shift
  table=$("$PYTHON" "$ROOT/run_test.py" -s "$RUN_DIR" -t "$dev" --worst 0 --out "$RUN_DIR/test/$name" "$@")
  [ ${#rows[@]} -gt 0 ] || rows+=("$(printf '%-12s' model) $(tail -n 2 <<<"$table" | head -n 1)")
  rows+=("$(printf '%-12s' "$name") $(tail -n 1 <<<"$table")")
}

say "without language model"
score none
for model in $MODELS; do
  lm=$RUN_DIR/lm/$model.arpa
  say "$model"
  "$PYTHON" "$ROOT/scripts/train_lm.py" --unit "${model%-*}" -o "${model#*-}" -s "$RUN_DIR" -l "$lm" \
    "$FEATURES/train-clean-100.json" >&2
  "$PYTHON" "$ROOT/scripts/tune_lm.py" -s "$RUN_DIR" -d "$dev" --lm "$lm" --beam_width $width "$@" >&2
  score "$model" --lm "$lm"
done
printf '%s\n' "${rows[@]}"
