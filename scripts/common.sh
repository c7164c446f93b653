# Functions shared by the scripts of this directory; sourced, never run.
# No script changes directory: relative paths in variables and arguments are relative to the caller's directory.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# fail TEXT...: prints one line on stderr and exits with status 1.
fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# say TEXT...: announces the next step on stderr; stdout is for results.
say() {
  echo "== $*" >&2
}

# find_python: sets PYTHON for the recipes: the caller's value, else the checkout's environment, else python3.
find_python() {
  if [ -z "${PYTHON:-}" ]; then
    PYTHON=$ROOT/.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python3
  fi
  command -v "$PYTHON" >/dev/null ||
    fail "PYTHON=$PYTHON is not a program; run scripts/run_demo.sh, or set PYTHON to one that has requirements.txt"
}

# need_corpus VARIABLE SUBSET...: fails unless the directory named by VARIABLE contains these directories.
need_corpus() {
  local variable=$1 directory=${!1} subset command
  shift
  command=$(download_command "$variable" "$directory" "$@")
  [ -d "$directory" ] ||
    fail "$variable=$directory: no such directory; set $variable to the corpus, with $1/, or download it: $command"
  for subset in "$@"; do
    [ -d "$directory/$subset" ] ||
      fail "$variable=$directory: no $subset/ there; set $variable to its parent directory, or download it: $command"
  done
}

# download_command VARIABLE DIRECTORY SUBSET...: prints the command that downloads a corpus, to DIRECTORY where its name
# is the one that the command gives it.
download_command() {
  local variable=$1 directory=$2 name what
  shift 2
  case $variable in
  LIBRISPEECH) name=LibriSpeech what="librispeech $*" ;;
  THCHS30) name=data_thchs30 what=thchs30 ;;
  *) name=an4 what=an4 ;;
  esac
  if [ "${directory##*/}" = "$name" ]; then directory=$(dirname "$directory"); else directory=DIR; fi
  echo "scripts/download_corpus.sh $what $directory"
}

# make_index SCRIPT CORPUS SUBSET INDEX FLAG...: preprocesses a subset, with the features beside the index, unless the
# index exists: it is written last, so all features that it names exist too. Delete it to preprocess the corpus again.
# Of several cluster tasks that start together, one preprocesses and the others wait.
make_index() {
  local script=$1 corpus=$2 subset=$3 index=$4 lock
  shift 4
  [ -s "$index" ] && return
  mkdir -p "$(dirname "$index")"
  if command -v flock >/dev/null; then
    exec {lock}>"$(dirname "$index")/.lock"
    flock -n "$lock" || say "waiting for another process that preprocesses into $(dirname "$index")"
    flock "$lock"
    [ -s "$index" ] && exec {lock}>&- && return
  fi
  say "preprocessing $corpus/$subset"
  if ! "$PYTHON" "$ROOT/$script" "$@" -n "$subset" "$corpus" "$(dirname "$index")" "$index"; then
    [ -s "$index" ] || exit 1
    say "continuing without the utterances named above"
  fi
  [ -z "${lock:-}" ] || exec {lock}>&-
}

# train_distributed RECIPE {ps,worker} INDEX FLAG...: runs one task of a cluster with the recipe for one machine.
#
#   PS_HOSTS   parameter servers, host:port,…; empty: the workers all-reduce   (127.0.0.1:2222)
#   WS_HOSTS   workers; the first is the chief                                 (127.0.0.1:2223,127.0.0.1:2224)
#   RUN_DIR    run directory; only the chief writes there                      (the recipe's default with suffix -dist)
train_distributed() {
  local recipe=$1 job=${2:-} index=${3:-}
  case $job in ps | worker) ;; *) fail "usage: $(basename "$0") {ps,worker} INDEX [FLAG...]" ;; esac
  [[ $index =~ ^[0-9]+$ ]] || fail "'$index' is not a task index; usage: $(basename "$0") {ps,worker} INDEX [FLAG...]"
  shift 3
  export RUN_DIR_SUFFIX=-dist
  exec "$ROOT/scripts/$recipe" --ps_hosts "${PS_HOSTS-127.0.0.1:2222}" \
    --ws_hosts "${WS_HOSTS:-127.0.0.1:2223,127.0.0.1:2224}" --job_name "$job" --task_index "$index" "$@"
}
