#!/usr/bin/env bash
# A language with another alphabet from nothing: eSpeak NG synthesizes Russian or German sentences, whose manifest is
# preprocessed with a vocabulary of its own; a small Deep Speech 2 is trained and scored on a held-out voice with held-out
# sentences, greedily. Three to five minutes for each language on two quiet cores. Run again, it resumes. Exit status 1 if a
# character error rate is not below 20 %.
#
#   ALPHABET_DIR   directory for corpora, features and runs                           ($HOME/runs/alphabet)
#   PYTHON         an environment with scripts/requirements-demo.txt, used as it is   (none: .venv is created)
#
#   scripts/run_alphabet.sh [ru] [de] [FLAG...]     the flags of run_train.py, such as -p 5
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$ROOT/scripts/setup_env.sh"

languages=()
while [ $# -gt 0 ] && [[ $1 != -* ]]; do
  case $1 in ru | de) languages+=("$1") ;; *) fail "$1 is not one of ru, de" ;; esac
  shift
done
[ ${#languages[@]} -gt 0 ] || languages=(ru de)
ALPHABET_DIR=${ALPHABET_DIR:-$HOME/runs/alphabet}

setup_env demo

# make_manifest_index MANIFEST INDEX FLAG...: preprocesses a manifest unless the index, which is written last, exists.
make_manifest_index() {
  local manifest=$1 index=$2
  shift 2
  [ -s "$index" ] && return
  say "preprocessing $manifest"
  "$PYTHON" "$ROOT/scripts/manifest_preprocess.py" "$manifest" "$(dirname "$index")" "$index" \
    -m fbank -f 40 --case lower --punctuation drop "$@"
}

rows=() failed=()
for language in "${languages[@]}"; do
  SECONDS=0
  folder=$ALPHABET_DIR/$language
  corpus=$folder/corpus features=$folder/features run_dir=$folder/run vocabulary=$folder/features/vocab.txt
  say "synthesizing the corpus in $corpus"
  "$PYTHON" "$ROOT/scripts/make_alphabet_corpus.py" "$language" "$corpus"
  make_manifest_index "$corpus/train.csv" "$features/train.json" --make_vocab "$vocabulary"
  make_manifest_index "$corpus/dev.csv" "$features/dev.json" -v "$vocabulary" --unknown keep

  say "training; the run directory is $run_dir"
  "$PYTHON" "$ROOT/run_train.py" -md ds2 -f 40 -cl 2 -rl 2 -n 192 -rc gru -a tanh -bn yes -k 0.85 \
    -b 16 -o adam --beta2 0.98 -lr 1.5e-3 --lr_schedule cosine --warmup_steps 100 -p 10 \
    --freq_masks 1 --tempo_range 0.1 --augment_from_epoch 3 --seed 1 \
    -v "$vocabulary" -t "$features/train.json" -d "$features/dev.json" -s "$run_dir" "$@"

  say "scoring on the held-out voice"
  table=$("$PYTHON" "$ROOT/run_test.py" -s "$run_dir" -t "$features/dev.json" --worst 2)
  printf '%s\n' "$table"
  [ ${#rows[@]} -gt 0 ] || rows+=("language $(grep -m 1 CER <<<"$table")")
  row=$(tail -n 1 <<<"$table")
  rows+=("$language       $row   $((SECONDS / 60)) min $((SECONDS % 60)) s")
  awk -v limit=20 '{exit !($(NF - 4) < limit)}' <<<"$row" || failed+=("$language") # CER, S, D, I, sentence errors
done
printf '%s\n' "${rows[@]}"
[ ${#failed[@]} -eq 0 ] || fail "the character error rate is not below 20 % for ${failed[*]}; train for more epochs (-p)"
