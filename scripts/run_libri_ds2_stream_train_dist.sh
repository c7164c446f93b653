#!/usr/bin/env bash
# Deep Speech 2 for live recognition on LibriSpeech, on a cluster:
# run_libri_ds2_stream_train_dist.sh {ps,worker} INDEX [FLAG...]
# For a parameter server and two workers on this machine, run it in three terminals, in any order: ps 0, worker 0,
# worker 1. PS_HOSTS and WS_HOSTS name other machines (see common.sh); corpus, features, model and variables are those
# of run_libri_ds2_stream_train.sh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

train_distributed run_libri_ds2_stream_train.sh "$@"
