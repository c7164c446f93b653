#!/usr/bin/env bash
# Listen, Attend and Spell on LibriSpeech. Arguments are passed on to run_train.py, where the last
# occurrence of a flag counts.
#
#   LIBRISPEECH  corpus directory, with train-clean-100/                  ($HOME/corpus/LibriSpeech)
#   TRAIN_SETS   training sub-directories; DEV_SETS: for validation       (train-clean-100, dev-clean)
#   FEATURES     directory for the features: 5.8 GB for 100 hours         ($HOME/features/libri-fbank-40)
#   RUN_DIR      run directory: checkpoints, history, curves, attention   ($HOME/runs/libri-las)
#
# Started again, it resumes from the newest checkpoint.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora.sh"

# 40 log mel bands every 10 ms, as in the paper.
prepare_libri libri-las libri-fbank-40 -m fbank -f 40

# After the papers: a listener of one plain and three pyramidal bidirectional LSTM layers of 256, weights uniform in
# ±0.1, scheduled sampling with probability 0.1, location-aware attention and unigram smoothing.
# Departures from the papers:
#   --speller_layers 1     instead of 2 layers of 512: 100 hours are few
#   --ctc_weight 0.2       attention alone takes many epochs to align on 100 hours
#   -o adam --lr_schedule  instead of gradient descent at 0.2 for weeks
exec "$PYTHON" "$ROOT/run_train.py" -md las -f 40 -rl 4 -n 256 -rc lstm -a tanh -k 0.8 \
  --attention location --speller_layers 1 --ctc_weight 0.2 --label_smoothing unigram --sample_prob 0.1 \
  -b 16 -o adam --beta2 0.98 -lr 1e-3 --lr_schedule cosine --warmup_steps 2000 -gc 1 -p 30 --seed 1 \
  --time_masks 2 --max_time_mask 40 --freq_masks 2 --max_freq_mask 8 --augment_from_epoch 3 \
  -t "${train_indexes[@]}" -d "${dev_indexes[@]}" -s "$RUN_DIR" "$@"
