#!/usr/bin/env bash
# Downloads a corpus and unpacks it in DIR, in the layout that the recipes expect:
#
#   scripts/download_corpus.sh an4 DIR                     DIR/an4/{train-clean-100,dev-clean,test-clean}
#   scripts/download_corpus.sh librispeech SUBSET... DIR   DIR/LibriSpeech/SUBSET, such as train-clean-100, dev-clean
#   scripts/download_corpus.sh thchs30 DIR                 DIR/data_thchs30/{data,train,dev,test}
#
#   MIRROR   URL of a directory that has the archives                             (OpenSLR 12, OpenSLR 18, CMU)
#   TRIES    attempts in a row that bring nothing before the script gives up      (5)
#   PYTHON   Python with requirements.txt, for an4 only                           (as in the recipes)
#
# An interrupted download resumes when the command is run again. Archives are checked against scripts/corpora.md5 and
# deleted once they are unpacked. What is there already is not downloaded. AN4 comes from CMU as an4_sphere.tar.gz;
# another server that has it is MIRROR=https://huggingface.co/datasets/espnet/an4/resolve/main
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

SUBSETS='dev-clean dev-other test-clean test-other train-clean-100 train-clean-360 train-other-500'

# usage TEXT...: prints one line on stderr and exits with status 2.
usage() {
  echo "$(basename "$0"): $*; usage: $(basename "$0") {an4 | librispeech SUBSET... | thchs30} DIR" >&2
  exit 2
}

# sizes ARCHIVE: prints two sizes in MB: of the archive, and of what it becomes while and after it is unpacked.
# LibriSpeech's and AN4's archives are measured; THCHS-30's, and what is unpacked, are estimates from hours of audio.
sizes() {
  case $1 in
  dev-clean.tar.gz) echo 338 370 ;;
  dev-other.tar.gz) echo 315 350 ;;
  test-clean.tar.gz) echo 347 380 ;;
  test-other.tar.gz) echo 329 360 ;;
  train-clean-100.tar.gz) echo 6388 6700 ;;
  train-clean-360.tar.gz) echo 23050 24000 ;;
  train-other-500.tar.gz) echo 30594 32000 ;;
  data_thchs30.tgz) echo 6500 9000 ;;
  an4_sphere.tar.gz) echo 65 170 ;;
  esac
}

# gigabytes MB: prints a size for people.
gigabytes() {
  awk -v mb="$1" 'BEGIN { if (mb < 1000) printf "%d MB", mb; else printf "%.1f GB", mb / 1000 }'
}

# num_bytes FILE: prints the size of a file; 0 without one.
num_bytes() {
  if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi
}

# find_programs: sets client to curl or wget; fails if a program is missing.
find_programs() {
  local program
  client=$(command -v curl || command -v wget) || fail 'neither curl nor wget on PATH; install one of them'
  client=$(basename "$client")
  for program in tar gzip md5sum awk df find realpath; do
    command -v "$program" >/dev/null || fail "no $program on PATH; install it"
  done
}

# check_space ARCHIVE...: announces how much the download needs, and fails if DIR has less.
check_space() {
  local archive largest=0 unpacked=0 present=0 need free one
  for archive in "$@"; do
    read -ra one <<<"$(sizes "$archive")"
    [ "${one[0]}" -le "$largest" ] || largest=${one[0]}
    unpacked=$((unpacked + one[1]))
    present=$((present + ($(num_bytes "$dir/$archive") + $(num_bytes "$dir/$archive.part")) / 1000000))
  done
  need=$((largest + unpacked > present ? largest + unpacked - present : 0))
  free=$(df -Pk "$dir" | awk 'NR == 2 { print int($4 * 1.024 / 1000) }')
  say "$dir needs about $(gigabytes "$need") more: $(gigabytes "$unpacked") unpacked, $(gigabytes "$largest") for the" \
    "largest archive until then; $(gigabytes "$free") are free"
  [ "$free" -ge "$need" ] || fail "$dir: $(gigabytes "$free") free, $(gigabytes "$need") needed; free some, or name" \
    'a directory on another disk'
}

# attempt URL FILE: transfers what FILE lacks; sets problem, empty after success, and is_final where waiting cannot help.
attempt() {
  local url=$1 file=$2 status=0 code=000 log=$work/transfer.log progress
  problem='' is_final=''
  if [ "$client" = curl ]; then
    if [ -t 2 ]; then progress=--progress-bar; else progress=--silent; fi
    code=$(curl "$progress" --location --fail --continue-at - --connect-timeout 30 --speed-limit 1000 --speed-time 60 \
      --write-out '%{http_code}' --output "$file" -- "$url") || status=$?
    case $status in
    0) return ;;
    6) problem='the name of the server cannot be resolved' ;;
    7) problem='the server does not accept the connection' ;;
    18 | 52 | 56) problem='the server cut the transfer' ;;
    23) problem="$file cannot be written; is the disk full?" is_final=yes ;;
    28) problem='the server sends nothing for a minute' ;;
    33) code=restart ;;
    *) problem="curl ended with status $status" ;;
    esac
  else
    if [ -t 2 ]; then progress=--show-progress; else progress=--no-verbose; fi
    wget "$progress" --no-verbose --continue --tries=1 --timeout=60 --output-file="$log" --output-document="$file" \
      -- "$url" || status=$?
    code=$(sed -n 's/.*ERROR \([0-9]*\).*/\1/p' "$log" | tail -n 1)
    case $status in
    0) return ;;
    3) problem="$file cannot be written; is the disk full?" is_final=yes ;;
    4) problem='the server cannot be reached, or cut the transfer' ;;
    *) problem="wget ended with status $status" ;;
    esac
    ! grep -q 'Refusing to truncate' "$log" || code=restart
  fi
  case $code in
  416) problem='' ;; # nothing is missing
  408 | 429) problem="HTTP status $code" ;;
  4??) problem="HTTP status $code; is the archive there? MIRROR names another server" is_final=yes ;;
  5??) problem="HTTP status $code" ;;
  restart)
    rm -f "$file"
    problem='the server cannot resume a transfer, so it starts again'
    ;;
  esac
}

# download URL FILE: transfers a file; parts that arrived before, in this run or another, are not transferred again.
download() {
  local url=$1 file=$2 failures=0 before
  while :; do
    before=$(num_bytes "$file")
    attempt "$url" "$file"
    [ -n "$problem" ] || return 0
    [ -s "$file" ] || rm -f "$file"
    [ -z "$is_final" ] || fail "$url: $problem"
    if [ "$(num_bytes "$file")" -gt "$before" ]; then failures=0; else failures=$((failures + 1)); fi
    [ "$failures" -lt "${TRIES:-5}" ] ||
      fail "$url: $problem; $(num_bytes "$file") bytes are kept in $file: run the same command again to resume there"
    say "$problem; resuming at $(num_bytes "$file") bytes"
    sleep "$failures"
  done
}

# is_intact FILE ARCHIVE: whether a file has the published MD5 of an archive, or gzip's CRC where none is published;
# sets problem.
is_intact() {
  local published actual
  problem=''
  published=$(awk -v name="$2" '$2 == name { print $1 }' "$ROOT/scripts/corpora.md5")
  if [ -z "$published" ]; then
    say "$2: no checksum is published for this archive; checking gzip's CRC"
    gzip -t <"$1" 2>/dev/null || problem="is not an intact gzip file ($(num_bytes "$1") bytes)"
  else
    actual=$(md5sum <"$1" | cut -d ' ' -f 1)
    [ "$actual" = "$published" ] || problem="has the MD5 sum $actual, the published one is $published"
  fi
  [ -z "$problem" ]
}

# get_archive ARCHIVE BASE_URL: downloads an archive to DIR unless it is there, and checks it.
get_archive() {
  local archive=$1 url=${MIRROR:-$2}/$1
  if [ -f "$dir/$archive" ]; then
    is_intact "$dir/$archive" "$archive" || fail "$dir/$archive $problem; remove it to have it downloaded again"
    return
  fi
  say "downloading $url with $client"
  download "$url" "$dir/$archive.part"
  if ! is_intact "$dir/$archive.part" "$archive"; then
    rm -f "$dir/$archive.part"
    fail "$archive from ${url%/*} $problem; it was removed: run the same command again, or name another server in MIRROR"
  fi
  mv "$dir/$archive.part" "$dir/$archive"
}

# unpack ARCHIVE TOP: unpacks an archive into $work/unpacked; fails unless all of it is in TOP/ there.
unpack() {
  local archive=$dir/$1 top=$2 root other
  say "unpacking $archive"
  rm -rf "$work/unpacked"
  mkdir "$work/unpacked"
  tar -xzf "$archive" -C "$work/unpacked" --no-same-owner 2>"$work/tar.log" ||
    fail "$archive: not unpacked: $(grep -v 'Removing leading' "$work/tar.log" | head -n 1)"
  root=$(realpath "$work/unpacked")
  other=$(find "$root" -mindepth 1 -maxdepth 1 ! -name "$top" | head -n 1)
  [ -z "$other" ] || fail "$archive: not unpacked: it holds ${other##*/}, outside of $top/"
  other=$(find "$root" ! -type f ! -type d ! -type l | head -n 1)
  [ -z "$other" ] || fail "$archive: not unpacked: $top/${other#"$root/$top/"} is neither a file nor a directory"
  other=$(find "$root" -type l -exec realpath -m {} + | awk -v root="$root/" 'index($0, root) != 1' | head -n 1)
  [ -z "$other" ] || fail "$archive: not unpacked: it has a link to $other, outside of $top/"
}

# install_librispeech SUBSET: downloads a subset; its directory appears last and whole.
install_librispeech() {
  local subset=$1 file
  get_archive "$subset.tar.gz" https://www.openslr.org/resources/12
  unpack "$subset.tar.gz" LibriSpeech
  [ -d "$work/unpacked/LibriSpeech/$subset" ] || fail "$dir/$subset.tar.gz: no LibriSpeech/$subset/ in it"
  mkdir -p "$dir/LibriSpeech"
  for file in "$work/unpacked/LibriSpeech/"*; do # licence, speakers, books
    [ -d "$file" ] || mv -f "$file" "$dir/LibriSpeech/"
  done
  mv "$work/unpacked/LibriSpeech/$subset" "$dir/LibriSpeech/$subset"
  rm "$dir/$subset.tar.gz"
}

install_thchs30() {
  local subset
  get_archive data_thchs30.tgz https://www.openslr.org/resources/18
  unpack data_thchs30.tgz data_thchs30
  for subset in data train dev test; do
    [ -d "$work/unpacked/data_thchs30/$subset" ] || fail "$dir/data_thchs30.tgz: no data_thchs30/$subset/ in it"
  done
  mv "$work/unpacked/data_thchs30" "$dir/data_thchs30"
  rm "$dir/data_thchs30.tgz"
}

install_an4() {
  get_archive an4_sphere.tar.gz http://www.speech.cs.cmu.edu/databases/an4
  unpack an4_sphere.tar.gz an4
  "$PYTHON" "$ROOT/scripts/convert_an4.py" "$work/unpacked/an4" "$dir/an4" >&2 || exit 1
  rm "$dir/an4_sphere.tar.gz"
}

case ${1:-} in
-h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}" && exit ;;
an4 | thchs30) [ $# -eq 2 ] || usage "$1 takes a directory and nothing else" ;;
librispeech) [ $# -gt 2 ] || usage "give one or more of $SUBSETS, and a directory" ;;
*) usage "${1:+$1: }name a corpus: an4, librispeech or thchs30" ;;
esac
corpus=$1 dir=${*: -1}
subsets=("${@:2:$#-2}")
for name in ${subsets[@]+"${subsets[@]}"}; do
  [[ " $SUBSETS " == *" $name "* ]] || usage "$name is not one of $SUBSETS"
done
case " $SUBSETS " in *" $dir "*) usage "the directory is missing after $dir" ;; esac
case $dir in '' | -*) usage "'$dir' is not a directory name" ;; esac
[[ ${TRIES:-5} =~ ^[1-9][0-9]*$ ]] || usage "TRIES=$TRIES is not a number from 1"

case $corpus in
an4) targets=("$dir/an4") archives=(an4_sphere.tar.gz) ;;
thchs30) targets=("$dir/data_thchs30") archives=(data_thchs30.tgz) ;;
librispeech) targets=("${subsets[@]/#/$dir/LibriSpeech/}") archives=("${subsets[@]/%/.tar.gz}") ;;
esac
missing=()
for i in "${!targets[@]}"; do
  if [ -e "${targets[i]}" ]; then
    say "${targets[i]} is there already"
  elif [[ " ${missing[*]-} " != *" ${archives[i]} "* ]]; then
    missing+=("${archives[i]}")
  fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

find_programs
if [ "$corpus" = an4 ]; then
  find_python
  "$PYTHON" -c 'import soundfile' 2>/dev/null || fail "$PYTHON has no module soundfile, which converts AN4 to FLAC;" \
    'install requirements.txt, or set PYTHON to one that has it'
fi
mkdir -p "$dir"
work=$dir/.download
mkdir -p "$work"
if command -v flock >/dev/null; then
  exec {lock}>"$work/lock"
  flock -n "$lock" || fail "$dir: another download works there; wait for it, or name another directory"
fi
trap 'rm -rf "$work"' EXIT
check_space "${missing[@]}"
case $corpus in
librispeech) for archive in "${missing[@]}"; do install_librispeech "${archive%.tar.gz}"; done ;;
*) "install_$corpus" ;;
esac
printf '%s\n' "${targets[@]}"
