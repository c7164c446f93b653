#!/usr/bin/env bash
# Listen, Attend and Spell on AN4 (under an hour of spelled names, addresses and numbers), laid out as LibriSpeech is.
# Arguments are passed on to run_train.py, where the last occurrence of a flag counts.
#
#   AN4          corpus directory, with train-clean-100/ and dev-clean/           ($HOME/corpus/an4)
#   FEATURES     directory for the features: 40 MB                                ($HOME/features/an4-fbank-40)
#   RUN_DIR      run directory: checkpoints, history, curves, attention           ($HOME/runs/an4-las)
#
# Started again, it resumes from the newest checkpoint.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora.sh"

prepare_an4 an4-las

# 800 utterances align only with the help of the CTC head; batches, learning rate and masks are those of
# run_an4_ds2_train.sh. The convolutions run at the full frame rate, the first of the four layers at a half, the last
# two at an eighth.
exec "$PYTHON" "$ROOT/run_train.py" -md las -f 40 -cl 2 -rl 4 -n 256 -rc gru -a tanh -bn yes -k 0.7 \
  --attention location --ctc_weight 0.5 --label_smoothing unigram --sample_prob 0.1 -b 8 -o adam --beta2 0.98 \
  -lr 8e-4 --lr_schedule cosine --warmup_steps 300 -p 80 --average_checkpoints 6 --time_masks 2 --max_time_mask 10 \
  --freq_masks 2 --max_freq_mask 6 --tempo_range 0.1 --warp_range 0.1 --augment_from_epoch 6 --seed 1 \
  -t "${train_indexes[@]}" -d "${dev_indexes[@]}" -s "$RUN_DIR" "$@"
