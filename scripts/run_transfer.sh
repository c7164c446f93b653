#!/usr/bin/env bash
# Transfer learning: Deep Speech 2 trained on four English corpora (7.8 hours), then AN4 from its weights (--init_from),
# beside the same epochs of AN4 from nothing; several seeds of the second stage. Prints word error rates as Markdown.
#
#   CORPORA      directory with an4/, LibriSpeech/, commonvoice/ and speechocean762/   ($HOME/corpus)
#   FEATURES     directory for the features: 450 MB                                    ($HOME/features/english-fbank-40)
#   RUNS         directory for the runs                                                ($HOME/runs/transfer)
#   EPOCHS       epochs of the first stage, about 6 minutes each on two cores          (13)
#   PLAIN        the first of them, without augmentation                               (9)
#   AN4_EPOCHS   epochs of the second stage: 15 minutes on two cores                   (24)
#   SEEDS        seeds of the second stage                                             (1 2 3)
#
# Common Voice has its own dev set; a tenth of the speakers of speechocean762 is held out. Arguments are passed on to
# run_train.py in both stages. Started again, it resumes.
#
# The figures in the README are of a first stage that was resumed with -p 10, 17, 15 and 13 in turn, so that its rates in
# epochs 9 to 12 were not quite those of this script.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

CORPORA=${CORPORA:-$HOME/corpus}
FEATURES=${FEATURES:-$HOME/features/english-fbank-40}
RUNS=${RUNS:-$HOME/runs/transfer}
find_python
need_corpus CORPORA an4 LibriSpeech commonvoice speechocean762

# make_index NAME SCRIPT ARGUMENT...: preprocesses into FEATURES/NAME.json; utterances left out do not stop the script.
make_index_of() {
  local written=$FEATURES/$1.json command=$2
  [ "$1" != speechocean ] || written=$FEATURES/speechocean.train.json  # split by speaker
  [ -s "$written" ] && return
  say "preprocessing $1"
  "$PYTHON" "$ROOT/$command" -m fbank -f 40 "${@:3}" "$FEATURES" "$FEATURES/$1.json" >&2 || [ -s "$written" ]
}
mkdir -p "$FEATURES"
make_index_of an4-train libri_preprocess.py -n train-clean-100 "$CORPORA/an4"
make_index_of an4-dev libri_preprocess.py -n dev-clean "$CORPORA/an4"
make_index_of librispeech libri_preprocess.py -n train-clean-100 "$CORPORA/LibriSpeech"
make_index_of commonvoice-train scripts/manifest_preprocess.py "$CORPORA/commonvoice/train.csv"
make_index_of commonvoice-dev scripts/manifest_preprocess.py "$CORPORA/commonvoice/dev.csv"
make_index_of speechocean scripts/manifest_preprocess.py -s 9:1:0 "$CORPORA/speechocean762/train"

model=(-md ds2 -f 40 -cl 2 -rl 3 -n 256 -rc gru -a tanh -bn yes -o adam --beta2 0.98 --lr_schedule cosine)
# AN4's recipe. From nothing, 7.8 hours of many accents teach nothing under these masks: the first epochs go without,
# with a cosine of their own; the others start again at half the rate.
augmentation=(--time_masks 2 --max_time_mask 10 --freq_masks 2 --max_freq_mask 6 --tempo_range 0.1 --warp_range 0.1)
english_dev=("$FEATURES"/{an4-dev,commonvoice-dev,speechocean.dev}.json)
english() {
  "$PYTHON" "$ROOT/run_train.py" "${model[@]}" "${augmentation[@]}" -k 0.9 --frames_per_batch 5000 -lr 8e-4 --warmup_steps 300 \
    --average_checkpoints 3 --seed 1 --augment_from_epoch "${PLAIN:-9}" \
    -t "$FEATURES"/{an4-train,librispeech,commonvoice-train,speechocean.train}.json -d "${english_dev[@]}" \
    -s "$RUNS/english" "$@" >&2
}
say "first stage: all English"
plain_done() { [ "$(cat "$RUNS/english/history.jsonl" 2>/dev/null | wc -l)" -ge "${PLAIN:-9}" ]; }  # a line an epoch
plain_done || english -p "${PLAIN:-9}" "$@"
english -p "${EPOCHS:-13}" "$@"

# From the average of the last epochs, whose dev loss is lower than that of the checkpoint with the fewest errors.
# an4 NAME SEED FLAG...: trains the second stage into RUNS/NAME-SEED.
an4() {
  local name=$1 seed=$2
  say "second stage: AN4, $name, seed $seed"
  "$PYTHON" "$ROOT/run_train.py" "${model[@]}" "${augmentation[@]}" -k 0.85 -b 8 -p "${AN4_EPOCHS:-24}" --average_checkpoints 8 \
    --seed "$seed" -t "$FEATURES/an4-train.json" -d "$FEATURES/an4-dev.json" -s "$RUNS/$name-$seed" "${@:3}" >&2
}
# wer RUN INDEX FLAG...: prints the word error rate in percent.
wer() {
  "$PYTHON" "$ROOT/run_test.py" -s "$1" -t "$2" --worst 0 --out "$1/test" "${@:3}" | awk 'END { print $3 }'
}
# with_lm RUN UNIT ORDER WIDTH TEXTS DEV...: trains a language model for a run, tunes it, prints a rate for each DEV.
with_lm() {
  local run=$1 width=$4 lm=$1/lm/$2-$3.arpa texts index
  read -ra texts <<<"$5"
  "$PYTHON" "$ROOT/scripts/train_lm.py" --unit "$2" -o "$3" -s "$run" -l "$lm" "${texts[@]}" >&2
  "$PYTHON" "$ROOT/scripts/tune_lm.py" -s "$run" -d "${@:6}" --lm "$lm" --beam_width "$width" >&2
  for index in "${@:6}"; do wer "$run" "$index" --lm "$lm" --beam_width "$width"; done
}

rows=('| run | set | greedy WER | with a language model |' '|---|---|---|---|')
english_texts=$(echo "$FEATURES"/{an4-train,librispeech,commonvoice-train,speechocean.train}.json)
mapfile -t rates < <(with_lm "$RUNS/english" word 3 100 "$english_texts" "${english_dev[@]:1}")
rows+=("| all English | Common Voice dev | $(wer "$RUNS/english" "${english_dev[1]}") % | ${rates[0]} % |")
rows+=("| all English | speechocean762, unseen speakers | $(wer "$RUNS/english" "${english_dev[2]}") % | ${rates[1]} % |")
for seed in ${SEEDS:-1 2 3}; do
  an4 scratch "$seed" -lr 8e-4 --warmup_steps 300 --augment_from_epoch 4 "$@"
  an4 transfer "$seed" -lr 8e-4 --warmup_steps 100 --augment_from_epoch 0 --init_from "$RUNS/english" --init_checkpoint average "$@"
  for name in scratch transfer; do
    run=$RUNS/$name-$seed
    rate=$(with_lm "$run" char 10 400 "$FEATURES/an4-train.json" "$FEATURES/an4-dev.json")
    rows+=("| $name, seed $seed | AN4 dev | $(wer "$run" "$FEATURES/an4-dev.json") % | $rate % |")
  done
done
printf '%s\n' "${rows[@]}" | tee "$RUNS/table.md"
