#!/usr/bin/env bash
# Ablation of las on AN4: trains a smaller and shorter run_an4_las_train.sh as it is and with one component changed at a
# time, and scores each run on dev-clean, greedily and with beams of 8 and 32. 10 minutes a row.
#
#   AN4, FEATURES   as in run_an4_las_train.sh
#   TABLE_DIR       directory for the runs and table.md    ($HOME/runs/an4-las-table)
#
#   scripts/run_an4_las_table.sh [ROW...]                  rows: base content none neighborhood no-ctc (all)
# Started again, it resumes; arguments after -- are passed on to run_train.py.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export FEATURES=${FEATURES:-$HOME/features/an4-fbank-40}
TABLE_DIR=${TABLE_DIR:-$HOME/runs/an4-las-table}
find_python
export PYTHON

smaller=(-rl 3 -k 0.8 -p 32)
declare -A flags=(
  [base]=''
  [content]='--attention content'
  [none]='--label_smoothing none'
  [neighborhood]='--label_smoothing neighborhood'
  [no-ctc]='--ctc_weight 0'
)
rows=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  [ -n "${flags[$1]+there}" ] || fail "$1 is not one of ${!flags[*]}"
  rows+=("$1")
  shift
done
[ $# -eq 0 ] || shift
[ ${#rows[@]} -gt 0 ] || rows=(base content none neighborhood no-ctc)

# wer RUN_DIR WIDTH: prints the word error rate on dev-clean, in percent.
wer() {
  "$PYTHON" "$ROOT/run_test.py" -s "$1" -t "$FEATURES/dev-clean.json" --beam_width "$2" --worst 0 --out "$1/beam-$2" |
    awk '$1 == "dev-clean" { print $3 }'
}

mkdir -p "$TABLE_DIR"
{
  echo '| run | flags | greedy | beam 8 | beam 32 |'
  echo '|---|---|---|---|---|'
} >"$TABLE_DIR/table.md"
for row in "${rows[@]}"; do
  say "$row ${flags[$row]}"
  read -ra changed <<<"${flags[$row]}"
  RUN_DIR=$TABLE_DIR/$row "$ROOT/scripts/run_an4_las_train.sh" "${smaller[@]}" "${changed[@]}" "$@"
  line="| $row | \`${flags[$row]:-as in the recipe}\` |"
  for width in 0 8 32; do line+=" $(wer "$TABLE_DIR/$row" $width) |"; done
  echo "$line" >>"$TABLE_DIR/table.md"
done
cat "$TABLE_DIR/table.md"
