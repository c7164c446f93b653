# Corpus preparation for the recipes; sourced, never run. Each function reads the corpus variable, FEATURES and RUN_DIR,
# which the header of the recipe describes, preprocesses the corpus, and sets the arguments of run_train.py.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# prepare_libri NAME FEATURES FLAG...: LibriSpeech; sets RUN_DIR for the run NAME, train_indexes and dev_indexes.
prepare_libri() {
  local name=$1 subset train_sets dev_sets
  LIBRISPEECH=${LIBRISPEECH:-$HOME/corpus/LibriSpeech}
  FEATURES=${FEATURES:-$HOME/features/$2}
  RUN_DIR=${RUN_DIR:-$HOME/runs/$name${RUN_DIR_SUFFIX:-}}
  shift 2
  read -ra train_sets <<<"${TRAIN_SETS:-train-clean-100}"
  read -ra dev_sets <<<"${DEV_SETS:-dev-clean}"
  find_python
  need_corpus LIBRISPEECH "${train_sets[@]}" "${dev_sets[@]}"
  for subset in "${train_sets[@]}" "${dev_sets[@]}"; do
    make_index libri_preprocess.py "$LIBRISPEECH" "$subset" "$FEATURES/$subset.json" "$@"
  done
  train_indexes=("${train_sets[@]/#/$FEATURES/}") dev_indexes=("${dev_sets[@]/#/$FEATURES/}")
  train_indexes=("${train_indexes[@]/%/.json}") dev_indexes=("${dev_indexes[@]/%/.json}")
}

# prepare_an4 NAME: AN4 likewise, with 40 log mel bands.
prepare_an4() {
  local subset
  AN4=${AN4:-$HOME/corpus/an4}
  FEATURES=${FEATURES:-$HOME/features/an4-fbank-40}
  RUN_DIR=${RUN_DIR:-$HOME/runs/$1}
  find_python
  need_corpus AN4 train-clean-100 dev-clean
  for subset in train-clean-100 dev-clean; do
    make_index libri_preprocess.py "$AN4" "$subset" "$FEATURES/$subset.json" -m fbank -f 40
  done
  train_indexes=("$FEATURES/train-clean-100.json") dev_indexes=("$FEATURES/dev-clean.json")
}

# prepare_thchs NAME: THCHS-30 likewise, with 40 log mel bands and transcripts in UNIT; sets vocabulary as well.
prepare_thchs() {
  local features
  UNIT=${UNIT:-char}
  THCHS30=${THCHS30:-$HOME/corpus/data_thchs30}
  FEATURES=${FEATURES:-$HOME/features/thchs-fbank-40-$UNIT}
  RUN_DIR=${RUN_DIR:-$HOME/runs/$1-$UNIT${RUN_DIR_SUFFIX:-}}
  train_indexes=("$FEATURES/${TRAIN_SET:=train}.json") dev_indexes=("$FEATURES/${DEV_SET:=dev}.json")
  vocabulary=$FEATURES/$TRAIN_SET.vocab.txt
  find_python
  need_corpus THCHS30 data "$TRAIN_SET" "$DEV_SET"
  features=(-m fbank -f 40 --unit "$UNIT")
  make_index thchs_preprocess.py "$THCHS30" "$TRAIN_SET" "${train_indexes[0]}" "${features[@]}"
  # with the vocabulary of the training set: a character that is missing there counts as an error
  make_index thchs_preprocess.py "$THCHS30" "$DEV_SET" "${dev_indexes[0]}" "${features[@]}" --vocabfile "$vocabulary"
}
