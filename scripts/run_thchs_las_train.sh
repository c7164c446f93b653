#!/usr/bin/env bash
# Listen, Attend and Spell on THCHS-30, in characters. Arguments are passed on to run_train.py, where the last of a
# flag counts.
#
#   THCHS30      the corpus, the directory with data/ train/ dev/ test/   ($HOME/corpus/data_thchs30)
#   UNIT         what is recognised: char, pinyin or phone                (char)
#   TRAIN_SET    its part to train on, DEV_SET to validate on             (train, dev)
#   FEATURES     where the features go: 1.6 GB                            ($HOME/features/thchs-fbank-40-UNIT)
#   RUN_DIR      the run: checkpoints, history, curves, attention         ($HOME/runs/thchs-las-UNIT)
#
# Started again, it goes on from the newest checkpoint.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora.sh"

prepare_thchs thchs-las

# The pyramid's last frames are 80 ms, less than half a syllable. The CTC head aligns, and says what attention, which
# has heard most of some 2,900 characters a few times only, is unsure of.
exec "$PYTHON" "$ROOT/run_train.py" -md las -f 40 -rl 4 -n 256 -rc lstm -a tanh -k 0.75 \
  --attention location --speller_layers 1 --ctc_weight 0.3 --label_smoothing unigram --sample_prob 0.1 \
  -b 16 -o adam --beta2 0.98 -lr 8e-4 --lr_schedule cosine --warmup_steps 1000 -p 40 --seed 1 \
  --time_masks 2 --freq_masks 2 --augment_from_epoch 5 -v "$vocabulary" \
  -t "${train_indexes[@]}" -d "${dev_indexes[@]}" -s "$RUN_DIR" "$@"
