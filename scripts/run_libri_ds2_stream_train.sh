#!/usr/bin/env bash
# Deep Speech 2 for live recognition on LibriSpeech: run_libri_ds2_train.sh, which explains the settings, in one
# direction, with a lookahead convolution. Arguments are passed on to run_train.py, where the last occurrence of a flag
# counts.
#
#   LIBRISPEECH  corpus directory, with train-clean-100/              ($HOME/corpus/LibriSpeech)
#   TRAIN_SETS   training sub-directories; DEV_SETS: for validation   (train-clean-100, dev-clean)
#   FEATURES     directory for the features: 23 GB for 100 hours      ($HOME/features/libri-log-161)
#   RUN_DIR      run directory: checkpoints, history, curves          ($HOME/runs/libri-ds2-stream)
#
# Started again, it resumes from the newest checkpoint.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora.sh"

prepare_libri libri-ds2-stream libri-log-161 -m log -f 161

# --lookahead_frames 20: text is late by 400 ms for it, and by 240 ms for the convolutions.
exec "$PYTHON" "$ROOT/run_train.py" -md ds2 -ub no --lookahead_frames 20 \
  -f 161 -cl 3 -rl 5 -n 512 -rc gru -a relu -bn yes -k 0.9 \
  -b 16 -o nm --momentum 0.99 -lr 3e-4 --lr_decay 1.2 --warmup_steps 500 -gc 10 -p 20 --seed 1 \
  -t "${train_indexes[@]}" -d "${dev_indexes[@]}" -s "$RUN_DIR" "$@"
