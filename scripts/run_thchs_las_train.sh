#!/usr/bin/env bash
# Listen, Attend and Spell on THCHS-30, in characters. Arguments are passed on to run_train.py, where the last
# occurrence of a flag counts.
#
#   THCHS30      corpus directory, with data/ train/ dev/ test/           ($HOME/corpus/data_thchs30)
#   UNIT         unit of the transcripts: char, pinyin or phone           (char)
#   TRAIN_SET    training sub-directory; DEV_SET: for validation          (train, dev)
#   FEATURES     directory for the features: 1.6 GB                       ($HOME/features/thchs-fbank-40-UNIT)
#   RUN_DIR      run directory: checkpoints, history, curves, attention   ($HOME/runs/thchs-las-UNIT)
#
# Started again, it resumes from the newest checkpoint.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora.sh"

prepare_thchs thchs-las

# The last frames of the pyramid are 80 ms, less than half a syllable. The CTC head aligns, and supports the attention
# where it is uncertain: of some 2,900 characters, most occur only a few times.
exec "$PYTHON" "$ROOT/run_train.py" -md las -f 40 -rl 4 -n 256 -rc lstm -a tanh -k 0.75 \
  --attention location --speller_layers 1 --ctc_weight 0.3 --label_smoothing unigram --sample_prob 0.1 \
  -b 16 -o adam --beta2 0.98 -lr 8e-4 --lr_schedule cosine --warmup_steps 1000 -p 40 --seed 1 \
  --time_masks 2 --freq_masks 2 --augment_from_epoch 5 -v "$vocabulary" \
  -t "${train_indexes[@]}" -d "${dev_indexes[@]}" -s "$RUN_DIR" "$@"
