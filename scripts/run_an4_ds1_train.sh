#!/usr/bin/env bash
# Deep Speech (the first one) on AN4 (under an hour of spelled names, addresses and numbers), laid out as LibriSpeech is.
# Arguments are passed on to run_train.py, where the last occurrence of a flag counts.
#
#   AN4          corpus directory, with train-clean-100/ and dev-clean/           ($HOME/corpus/an4)
#   FEATURES     directory for the features: 40 MB                                ($HOME/features/an4-fbank-40)
#   RUN_DIR      run directory: checkpoints, history, curves                      ($HOME/runs/an4-ds1)
#
# Started again, it resumes from the newest checkpoint.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora.sh"

prepare_an4 an4-ds1

# The paper's model: plain recurrence, clipped ReLU, every second frame, dropout on dense layers alone. Batches, schedule
# and augmentation are those of run_an4_ds2_train.sh; without batch norm the learning rate is lower.
exec "$PYTHON" "$ROOT/run_train.py" -md ds1 -f 40 -n 512 -rc rnn -a relu --context_frames 7 --frame_stride 2 -k 0.85 \
  -b 8 -o adam --beta2 0.98 -lr 3e-4 --lr_schedule cosine --warmup_steps 300 -p 46 --average_checkpoints 8 \
  --time_masks 2 --max_time_mask 10 --freq_masks 2 --max_freq_mask 6 --tempo_range 0.1 --warp_range 0.1 \
  --augment_from_epoch 6 --seed 1 \
  -t "${train_indexes[@]}" -d "${dev_indexes[@]}" -s "$RUN_DIR" "$@"
