#!/usr/bin/env bash
# Deep Speech 2 on THCHS-30, in characters. Arguments are passed on to run_train.py, where the last occurrence of
# a flag counts.
#
#   THCHS30      corpus directory, with data/ train/ dev/ test/           ($HOME/corpus/data_thchs30)
#   UNIT         unit of the transcripts: char, pinyin or phone           (char)
#   TRAIN_SET    training sub-directory; DEV_SET: for validation          (train, dev)
#   FEATURES     directory for the features: 1.6 GB                       ($HOME/features/thchs-fbank-40-UNIT)
#   RUN_DIR      run directory: checkpoints, history, curves              ($HOME/runs/thchs-ds2-UNIT)
#
# Started again, it resumes from the newest checkpoint.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora.sh"

# 40 log mel bands instead of the paper's spectrogram: 25 hours are few, and the first convolution costs a quarter.
prepare_thchs thchs-ds2

# Two convolutions halve the frame rate once, to 20 ms; a Chinese syllable lasts 200 ms. Of some 2,900 characters,
# most occur only a few times, so dropout and masks help more than depth.
exec "$PYTHON" "$ROOT/run_train.py" -md ds2 -f 40 -cl 2 -rl 4 -n 384 -rc gru -a tanh -bn yes -k 0.8 \
  -b 16 -o adam --beta2 0.98 -lr 6e-4 --lr_schedule cosine --warmup_steps 1000 -p 30 \
  --time_masks 2 --freq_masks 2 --augment_from_epoch 5 --seed 1 -v "$vocabulary" \
  -t "${train_indexes[@]}" -d "${dev_indexes[@]}" -s "$RUN_DIR" "$@"
