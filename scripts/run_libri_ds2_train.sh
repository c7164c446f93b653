#!/usr/bin/env bash
# Deep Speech 2 on LibriSpeech. Arguments are passed on to run_train.py, where the last occurrence of
# a flag counts.
#
#   LIBRISPEECH  corpus directory, with train-clean-100/              ($HOME/corpus/LibriSpeech)
#   TRAIN_SETS   training sub-directories; DEV_SETS: for validation   (train-clean-100, dev-clean)
#   FEATURES     directory for the features: 23 GB for 100 hours      ($HOME/features/libri-log-161)
#   RUN_DIR      run directory: checkpoints, history, curves          ($HOME/runs/libri-ds2)
#
# Started again, it resumes from the newest checkpoint.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora.sh"

# The paper's input: log power spectra of 20 ms windows every 10 ms, up to 8 kHz.
prepare_libri libri-ds2 libri-log-161 -m log -f 161

# After the paper: three convolutions, bidirectional GRU with clipped ReLU and sequence-wise batch norm, Nesterov
# momentum of 0.99, the learning rate divided by 1.2 after each epoch, 20 epochs, SortaGrad (the default).
# Departures from the paper, whose sizes are for 12,000 hours and clusters of GPUs:
#   -rl 5 -n 512            instead of 7 layers of 1280: what one small machine trains on 100 hours without overfitting at
#                           once
#   -b 16                   instead of 512 utterances: fits 8 GB with LibriSpeech's longest utterances
#   -gc 10                  instead of 400: the paper sums losses over whole utterances of a far larger batch
#   -lr 3e-4 --warmup_steps middle of the paper's 1e-4 to 6e-4; the first gradients of a small batch are noisy
#   -k 0.9                  the paper has data instead of dropout
exec "$PYTHON" "$ROOT/run_train.py" -md ds2 -f 161 -cl 3 -rl 5 -n 512 -rc gru -a relu -bn yes -k 0.9 \
  -b 16 -o nm --momentum 0.99 -lr 3e-4 --lr_decay 1.2 --warmup_steps 500 -gc 10 -p 20 --seed 1 \
  -t "${train_indexes[@]}" -d "${dev_indexes[@]}" -s "$RUN_DIR" "$@"
