#!/usr/bin/env bash
# Overfitting test: trains a small model on a few real utterances and scores it on the same ones: Deep Speech 2 on 50
# utterances of LibriSpeech (libri; 20 minutes on two busy cores) and on those of THCHS-30's test/ in each unit (char,
# pinyin, phone; 6 minutes each), and Listen, Attend and Spell on the 50 of LibriSpeech (las; likewise 20). Error rates
# should end below 5 %.
#
#   LIBRISPEECH  corpus directory, with train-clean-100/   ($HOME/corpus/LibriSpeech)
#   THCHS30      corpus directory, with data/ and test/    ($HOME/corpus/data_thchs30)
#   OUT_DIR      directory for features and runs           ($HOME/runs/overfit)
#
#   scripts/run_overfit.sh {libri,char,pinyin,phone,las}...
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

LIBRISPEECH=${LIBRISPEECH:-$HOME/corpus/LibriSpeech}
THCHS30=${THCHS30:-$HOME/corpus/data_thchs30}
OUT_DIR=${OUT_DIR:-$HOME/runs/overfit}
[ $# -gt 0 ] || fail 'give what to overfit: libri, char, pinyin, phone or las'

find_python

ds2=(-md ds2 -cl 2 -rl 3)
las=(-md las -rl 3 -rc gru --ctc_weight 0.3 --sample_prob 0)

# overfit INDEX RUN_DIR FLAG...: trains without dropout or augmentation, which prevent overfitting, and scores.
overfit() {
  local index=$1 run_dir=$2
  shift 2
  "$PYTHON" "$ROOT/run_train.py" -f 40 -n 256 -a tanh -k 1 -o adam --beta2 0.98 -lr 1e-3 \
    --lr_schedule cosine --warmup_steps 50 --average_checkpoints 0 --seed 1 -t "$index" -d "$index" -s "$run_dir" "$@"
  "$PYTHON" "$ROOT/run_test.py" -s "$run_dir" -t "$index" --worst 2
}

for what in "$@"; do
  case $what in
  libri | las)
    need_corpus LIBRISPEECH train-clean-100
    make_index libri_preprocess.py "$LIBRISPEECH" train-clean-100 "$OUT_DIR/libri.json" -m fbank -f 40
    head -n 50 "$OUT_DIR/libri.json" >"$OUT_DIR/libri-50.json"
    if [ "$what" = libri ]; then
      overfit "$OUT_DIR/libri-50.json" "$OUT_DIR/run-libri" "${ds2[@]}" -b 4 -p 55
    else
      overfit "$OUT_DIR/libri-50.json" "$OUT_DIR/run-las" "${las[@]}" -b 4 -p 90
    fi
    ;;
  char | pinyin | phone)
    need_corpus THCHS30 test
    make_index thchs_preprocess.py "$THCHS30" test "$OUT_DIR/thchs-$what.json" -m fbank -f 40 --unit "$what"
    overfit "$OUT_DIR/thchs-$what.json" "$OUT_DIR/run-$what" "${ds2[@]}" -b 6 -p 150 -v "$OUT_DIR/thchs-$what.vocab.txt"
    ;;
  *) fail "$what is not one of libri, char, pinyin, phone, las" ;;
  esac
done
