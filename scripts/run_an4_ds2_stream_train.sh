#!/usr/bin/env bash
# Deep Speech 2 for live recognition on AN4: run_an4_ds2_train.sh in one direction, with a lookahead convolution.
# `run_predict.py --stream` and servers run it while somebody speaks.
# Arguments are passed on to run_train.py, where the last occurrence of a flag counts.
#
#   AN4          corpus directory, with train-clean-100/ and dev-clean/           ($HOME/corpus/an4)
#   FEATURES     directory for the features: 40 MB                                ($HOME/features/an4-fbank-40)
#   RUN_DIR      run directory: checkpoints, history, curves                      ($HOME/runs/an4-ds2-stream)
#
# Started again, it resumes from the newest checkpoint.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora.sh"

prepare_an4 an4-ds2-stream

# --lookahead_frames 20: text is late by 400 ms for it, and by 140 ms for the convolutions.
# The rest is as in run_an4_ds2_train.sh.
exec "$PYTHON" "$ROOT/run_train.py" -md ds2 -ub no --lookahead_frames 20 \
  -f 40 -cl 2 -rl 3 -n 256 -rc gru -a tanh -bn yes -k 0.85 \
  -b 8 -o adam --beta2 0.98 -lr 8e-4 --lr_schedule cosine --warmup_steps 300 -p 46 --average_checkpoints 8 \
  --time_masks 2 --max_time_mask 10 --freq_masks 2 --max_freq_mask 6 --tempo_range 0.1 --warp_range 0.1 \
  --augment_from_epoch 6 --seed 1 \
  -t "${train_indexes[@]}" -d "${dev_indexes[@]}" -s "$RUN_DIR" "$@"
