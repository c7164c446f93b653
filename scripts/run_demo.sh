#!/usr/bin/env bash
# Demo from nothing to a word error rate: creates .venv, synthesizes a small corpus, preprocesses it, trains a Deep
# Speech 2 model, scores it on held-out voices, and transcribes three files. 2 to 5 minutes on two cores after the
# installation. Run again, it resumes.
#
#   DEMO_DIR   directory for all files                                            (demo/ in the checkout)
#   PYTHON     an environment with scripts/requirements-demo.txt, used as it is   (none: .venv is created)
#
# Arguments are passed on to run_train.py, where the last occurrence of a flag counts: scripts/run_demo.sh -p 5
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$ROOT/scripts/setup_env.sh"

DEMO_DIR=${DEMO_DIR:-$ROOT/demo}
corpus=$DEMO_DIR/corpus features=$DEMO_DIR/features run_dir=$DEMO_DIR/run

setup_env demo
SECONDS=0

say "synthesizing the corpus in $corpus"
"$PYTHON" "$ROOT/scripts/make_demo_corpus.py" "$corpus"

for subset in train-clean-100 dev-clean test-clean; do
  make_index libri_preprocess.py "$corpus" "$subset" "$features/$subset.json" -m fbank -f 40
done

say "training; the run directory is $run_dir"
"$PYTHON" "$ROOT/run_train.py" -md ds2 -f 40 -cl 2 -rl 2 -n 192 -rc gru -a tanh -bn yes -k 0.85 \
  -b 16 -o adam --beta2 0.98 -lr 1.5e-3 --lr_schedule cosine --warmup_steps 100 -p 10 \
  --freq_masks 1 --tempo_range 0.1 --augment_from_epoch 3 --seed 1 \
  -t "$features/train-clean-100.json" -d "$features/dev-clean.json" -s "$run_dir" "$@"

say 'transcribing three files'
ids=(301-1-0000 302-1-0001 303-1-0002) paths=() references=()
for id in "${ids[@]}"; do
  folder=$corpus/test-clean/${id%%-*}/1
  paths+=("$folder/$id.flac")
  references+=("$(sed -n "s/^$id //p" "$folder/${id%-*}.trans.txt" | tr '[:upper:]' '[:lower:]')")
done
texts=$("$PYTHON" "$ROOT/run_predict.py" -s "$run_dir" "${paths[@]}")
{
  i=0
  while IFS=$'\t' read -r path text; do
    printf '%s\n  reference:  %s\n  hypothesis: %s\n' "$path" "${references[i]}" "$text"
    i=$((i + 1))
  done
} <<<"$texts"

say 'scoring on held-out voices'
"$PYTHON" "$ROOT/run_test.py" -s "$run_dir" -t "$features/dev-clean.json" "$features/test-clean.json" --worst 2

cat <<END

Done in $((SECONDS / 60)) min $((SECONDS % 60)) s.
  run directory  $run_dir
  curves         $run_dir/curves.png
  history        $run_dir/history.jsonl
  hypotheses     $run_dir/test/
END
